// Ranks that divide weights multiply alike. What several of them hold whole has the same bits on each only if they choose the same
// way to compute it, and each would time the ways by itself.
#pragma once
#include "../kernels/collectives.h"
#include "linear-choices.h"

namespace quire {

// All ranks make the same calls in the same order, on their device's own thread, outside of a capture.
class LinearAgreement {
 public:
  // Throws std::runtime_error.
  LinearAgreement(Communicator& ranks, cudaStream_t stream);
  ~LinearAgreement();
  LinearAgreement(const LinearAgreement&) = delete;

  bool isFirst() const { return ranks_.rank == 0; }
  // Whether all ranks have the same: an algorithm of a library means nothing to another GPU, or another version.
  bool isSame(const std::string& library, cudaError_t& error);
  // The choice of rank 0; the others' own are not looked at.
  LinearChoice ofFirst(const LinearChoice& own, cudaError_t& error);

 private:
  Communicator& ranks_;
  const cudaStream_t stream_;
  void* memory_ = nullptr;
};

}  // namespace quire
