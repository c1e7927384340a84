// linear through cuBLASLt, where that is faster than our own kernels: chosen by timing both.
//
// A choice holds for a shape, its epilogue and a bucket of rows. It is made when such a problem is first met outside of a capture:
// our own form and the first algorithms of the heuristic run on other memory, each several times with a cold second cache. Choices
// are kept in a file, with the GPU, its driver and the library's version.
//
// The library adds a bias and a residual itself. For an activation, or a gate, its sums go to the workspace in f32, in pieces
// that stay in the second cache, and one more kernel makes the output.//
// Measured on an H200, cuBLASLt 13.1: the four products and two norms of a layer of Llama 3.1 8B take 131 us at 64 rows and 195 at
// 256, where our own kernels take 164 and 452; at 2048 rows 690 (gated) to 830 TFLOP/s.
#pragma once
#include <map>
#include <string>

#include "../kernels/linear/variants.h"
#include "cublaslt.h"

namespace quire {

struct LinearChoice {
  bool library = false;
  cublaslt::Algo algo{};
};

// Choices by key, in memory and as lines of a text file. What is wrong with the file is nobody's concern: it is a cache.
class LinearChoices {
 public:
  // `file` may be empty. `machine`: what the choices hold for.
  LinearChoices(std::string file, std::string machine);
  const LinearChoice* find(const std::string& key) const;
  // For this process.
  void remember(const std::string& key, const LinearChoice& choice) { choices_[key] = choice; }
  // For this one and later ones.
  void keep(const std::string& key, const LinearChoice& choice);

 private:
  std::string file_, machine_;
  std::map<std::string, LinearChoice> choices_;
};

class TunedLinear : public LinearLibrary {
 public:
  // On device `ordinal`, which is current. Throws std::runtime_error where the library cannot be used.
  TunedLinear(int ordinal, int smCount, std::string choicesFile);
  std::string version() const { return library_.version(); }
  size_t workspace(const LinearProblem&) const override;
  bool launch(const LinearProblem&, const Step&, cudaError_t& error) override;

 private:
  bool suits(const LinearProblem&, const Step&) const;
  // Rows whose sums are in the workspace at a time.
  int pieceRows(const LinearProblem&) const;
  // Times the ways to compute a problem. Without memory for that our own form is taken from then on.
  void choose(const LinearProblem&, const Step&, const std::string& key, cudaError_t& error);
  // False when the library refuses, and then nothing has been enqueued of this piece.
  bool run(const LinearProblem&, const cublaslt::Algo&, const Step&, cudaError_t& error) const;

  CublasLt library_;
  LinearChoices choices_;
  const size_t mostSumBytes_;
};

// Rows are timed for the next bucket: powers of two, and their middles.
int rowsBucket(int rows);

}  // namespace quire
