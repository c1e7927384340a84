// linear through cuBLASLt, where that is faster than our own kernels: chosen by timing both.
//
// A choice holds for a shape, its epilogue and a bucket of rows. It is made when such a problem is first met outside of a capture:
// our own form and the first algorithms of the heuristic run on other memory, each several times with a cold second cache. Choices
// are kept in a file, with the GPU, its driver and the library's version. In a group rank 0 makes them for all.
//
// The library adds a bias and a residual itself. For an activation, or a gate, its sums go to the workspace in f32, in pieces
// that stay in the second cache, and one more kernel makes the output.
//
// Measured on an H200, cuBLASLt 13.1: the four products and two norms of a layer of Llama 3.1 8B take 131 us at 64 rows and 195 at
// 256, where our own kernels take 164 and 452; at 2048 rows 690 (gated) to 830 TFLOP/s.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "../kernels/linear/variants.h"
#include "linear-agreement.h"

namespace quire {

class TunedLinear : public LinearLibrary {
 public:
  // On device `ordinal`, which is current. Throws std::runtime_error where the library cannot be used.
  TunedLinear(int ordinal, int smCount, std::string choicesFile);
  std::string version() const { return library_.version(); }
  // What its choices hold for: the GPU, its driver and the library.
  const std::string& machine() const { return kept_.machine(); }
  // Rank 0's choices hold for all ranks, whose steps are the same. Before the first step.
  void agree(std::unique_ptr<LinearAgreement> agreement) { agreement_ = std::move(agreement); }
  size_t workspace(const LinearProblem&) const override;
  bool launch(const LinearProblem&, const Step&, cudaError_t& error) override;

 private:
  bool suits(const LinearProblem&, const Step&) const;
  // Rows whose sums are in the workspace at a time.
  int pieceRows(const LinearProblem&) const;
  // The choice of this process for a problem: of the file, or by timing.
  LinearChoice choose(const LinearProblem&, const Step&, const std::string& key, cudaError_t& error);
  // Times the ways to compute a problem. Without memory for that it is our own form, and the file learns nothing.
  LinearChoice time(const LinearProblem&, const Step&, const std::string& key, cudaError_t& error);
  // False when the library refuses, and then nothing has been enqueued of this piece.
  bool run(const LinearProblem&, const cublaslt::Algo&, const Step&, cudaError_t& error) const;

  CublasLt library_;
  // Those of the file, and those that hold in this process.
  LinearChoices kept_;
  std::map<std::string, LinearChoice> chosen_;
  std::unique_ptr<LinearAgreement> agreement_;
  const size_t mostSumBytes_;
};

// Rows are timed for the next bucket: powers of two, and their middles.
int rowsBucket(int rows);

}  // namespace quire
