// What every launch function is given: tensors, and the step that it belongs to.
#pragma once
#include <cstdint>

#include "cuda_runtime.h"

namespace quire {

// q*: weights of few bits, i8 and f8e4m3: caches; docs/quantization.md gives their layouts.
enum class DType : int {
  f32 = 0, f16 = 1, bf16 = 2, u32 = 3, q8 = 4, q4_32 = 5, q4_128 = 6, q4_32z = 7, q4_128z = 8, i8 = 9, f8e4m3 = 10
};
enum class Activation : int { none = 0, relu = 1, silu = 2, gelu = 3, geluTanh = 4 };

// A tensor as an operation sees it: [rows, columns], row-major. columns is the product of all dimensions but the first.
// data is null for an optional field that is absent.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::f32;
  // First dimension at the step's sizes.
  int rows = 0;
  int64_t columns = 0;
  template <class T>
  T* as() const { return static_cast<T*>(data); }
  explicit operator bool() const { return data != nullptr; }
};

// The step's sizes, in the order of the contract's StepSizes. In a captured graph: those of the bucket.
struct StepSizes {
  int tokens, sequences, decodeSequences, samples, blocksPerSequence, maxQueryTokens, deltaSegments;
};

// Scratch memory of a plan, allocated at compile for the largest need of any operation. It begins with words that operations
// use as counters: zero at compile, and every kernel leaves them at zero. What lies behind them has no meaning between kernels.
constexpr size_t kWorkspaceCounters = 4096;
struct Workspace {
  void* data = nullptr;
  size_t bytes = 0;
  unsigned* counters() const { return static_cast<unsigned*>(data); }
  template <class T>
  T* scratch() const { return reinterpret_cast<T*>(counters() + kWorkspaceCounters); }
};
// Bytes of a workspace with so many bytes behind the counters.
inline size_t workspaceBytes(size_t scratch) { return kWorkspaceCounters * sizeof(unsigned) + scratch; }

class LinearLibrary;

struct Step {
  StepSizes sizes;
  Workspace workspace;
  // Streaming multiprocessors of the chip.
  int smCount;
  cudaStream_t stream;
  // Every row's result has the same bits in a step of any size.
  bool batchInvariant = true;
  // Null where there is none, or the step is batch invariant.
  LinearLibrary* linearLibrary = nullptr;
  // The stream is being captured: nothing may wait for it.
  bool capturing = false;
};

}  // namespace quire
