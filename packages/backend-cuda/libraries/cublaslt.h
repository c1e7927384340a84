// Matrix products of cuBLASLt, on one device.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "../kernels/ops/linear.h"
#include "cublaslt-api.h"

namespace quire {

// y = x weight^T, + bias where there is one, + `addend` where there is one; [rows, n] = [rows, k] [n, k]^T, all row-major.
struct MatrixProduct {
  const void *x, *weight;
  void* y;
  // Elements of y's dtype, n of them.
  const void* bias = nullptr;
  // Laid out as y, and may be y.
  const void* addend = nullptr;
  // Of x and weight: f16 or bf16. Of y: that, or f32.
  DType dtype, outDType;
  int rows, n, k;
  // Elements from row to row of y.
  int64_t stride;
};

class CublasLt {
 public:
  // Opens the library and a handle on the current device. Throws std::runtime_error with the reason.
  CublasLt();
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  // Such as 13.1.1.
  std::string version() const;
  // What the heuristic names for a product, best first; at most `most`. Empty where it has none.
  std::vector<cublaslt::Algo> candidates(const MatrixProduct&, int most) const;
  // False when the library refuses, and then nothing has been enqueued.
  bool enqueue(const MatrixProduct&, const cublaslt::Algo&, void* workspace, cudaStream_t) const;

  // What every product may use, as NVIDIA advises for Hopper.
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

 private:
  cublaslt::Api api_;
  cublaslt::Handle handle_ = nullptr;
};

}  // namespace quire
