// The launch functions of all operations: plain C++, no Node-API. One function per operation of the contract
// (packages/core/src/contract/contract.ts), under its name, in kernels/<stem>.cu. Arguments carry the field names of the
// contract. Every function enqueues on `stream` and returns at once; grids depend on `sizes` only, so that they can be
// captured into a graph per bucket: what varies within a bucket is read from device memory.
#pragma once
#include <cstdint>

#include "cuda_runtime.h"

namespace quire {

enum class DType : int { f32 = 0, f16 = 1, bf16 = 2, u32 = 3 };
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

struct AttentionShape {
  int heads, kvHeads, headDim, blockSize;
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

struct LinearProblem;
struct Step;
// A library that may compute linear in the place of our own kernels. It is bound by no rule of batch invariance.
class LinearLibrary {
 public:
  virtual ~LinearLibrary() = default;
  // Bytes of workspace that it needs at these sizes; 0 for a problem that is none of its own.
  virtual size_t workspace(const LinearProblem&) const = 0;
  // False when our own kernels are to compute the problem; then nothing has been enqueued, but for trials on other memory.
  virtual bool launch(const LinearProblem&, const Step&, cudaError_t& error) = 0;
};

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

struct ApplyRowDelta { Tensor delta, rows, blockTables, tokenIds, batch, biases; };
struct PrepareInputs { Tensor batch, rows, tokenIds, blockTables, inputIds, positions, slotMapping, sequences; int blockSize; };
struct PrepareSamples { Tensor batch, sequences, tokenIds, samples; };
struct AdvanceRows { Tensor batch, sequences, samples, sampled, rows, tokenIds, ring; int ringSlots; };
struct Embed { Tensor ids, table, out; int offset, firstRow; };
struct RmsNorm { Tensor x, weight, out; float eps; Tensor residual, sum; };
struct LayerNorm { Tensor x, weight, bias, out; float eps; };
struct Linear { Tensor x, weight, out, bias, residual; Activation activation; int outColumn; };
// out = activation(gate) * up, where gate and up are the first and the second n rows of x weight^T + bias; weight [2 n, K].
struct GatedLinear { Tensor x, weight, out, bias; Activation activation; };
// RMS norms of query and key heads, before they are rotated; no weights, no norm.
struct HeadNorms { Tensor qNorm, kNorm; float eps = 0; };
struct Rope { Tensor qkv, positions, table; int heads, kvHeads, headDim, rotaryDim; bool interleaved; HeadNorms norms; };
struct KvWrite { Tensor qkv, slotMapping, kCache, vCache; AttentionShape shape; };
struct RopeKvWrite { Tensor qkv, positions, table, slotMapping, kCache, vCache; int rotaryDim; bool interleaved; AttentionShape shape; HeadNorms norms; };
struct PagedAttention { Tensor qkv, kCache, vCache, sequences, blockTables, out; float scale; int window; float softCap; AttentionShape shape; };
struct GatedActivation { Tensor x, out; Activation activation; };
struct Add { Tensor a, b, out; };
struct GatherRows { Tensor x, samples, out; };
struct CopyBlocks { Tensor kCache, vCache, pairs; };
struct ZeroBlocks { Tensor kCache, vCache, blocks; };
struct Penalties { Tensor logits, samples, rows, tokenIds, out; };
struct BiasLogits { Tensor logits, samples, rows, biases, out; };
struct MaskLogits { Tensor logits, samples, rows, masks, out; };
struct FilterLogits { Tensor logits, samples, rows, thresholds; };
struct Sample { Tensor logits, thresholds, samples, rows, sampled; };
struct Argmax { Tensor logits, samples, sampled; };
struct LogProbs { Tensor logits, samples, sampled, logprobs, logprobIds; int topN; };

cudaError_t applyRowDelta(const ApplyRowDelta&, const Step&);
cudaError_t prepareInputs(const PrepareInputs&, const Step&);
cudaError_t prepareSamples(const PrepareSamples&, const Step&);
cudaError_t advanceRows(const AdvanceRows&, const Step&);
cudaError_t embed(const Embed&, const Step&);
cudaError_t rmsNorm(const RmsNorm&, const Step&);
cudaError_t layerNorm(const LayerNorm&, const Step&);
cudaError_t linear(const Linear&, const Step&);
cudaError_t gatedLinear(const GatedLinear&, const Step&);
cudaError_t rope(const Rope&, const Step&);
cudaError_t kvWrite(const KvWrite&, const Step&);
cudaError_t ropeKvWrite(const RopeKvWrite&, const Step&);
cudaError_t pagedAttention(const PagedAttention&, const Step&);
cudaError_t gatedActivation(const GatedActivation&, const Step&);
cudaError_t add(const Add&, const Step&);
cudaError_t gatherRows(const GatherRows&, const Step&);
cudaError_t copyBlocks(const CopyBlocks&, const Step&);
cudaError_t zeroBlocks(const ZeroBlocks&, const Step&);
cudaError_t penalties(const Penalties&, const Step&);
cudaError_t biasLogits(const BiasLogits&, const Step&);
cudaError_t maskLogits(const MaskLogits&, const Step&);
cudaError_t filterLogits(const FilterLogits&, const Step&);
cudaError_t sample(const Sample&, const Step&);
cudaError_t argmax(const Argmax&, const Step&);
cudaError_t logProbs(const LogProbs&, const Step&);

// Bytes of workspace that an operation needs at the largest sizes; 0 for operations not named here.
size_t linearWorkspace(const Linear&, bool batchInvariant, const LinearLibrary*);
size_t gatedLinearWorkspace(const GatedLinear&, bool batchInvariant, const LinearLibrary*);
size_t pagedAttentionWorkspace(const PagedAttention&, const StepSizes& maxSizes, int smCount);
size_t filterLogitsWorkspace(const FilterLogits&, const StepSizes& maxSizes);
size_t sampleWorkspace(const StepSizes& maxSizes);
size_t argmaxWorkspace(const StepSizes& maxSizes);
size_t penaltiesWorkspace(const Penalties&, const StepSizes& maxSizes);
size_t copyBlocksWorkspace(const CopyBlocks&);

}  // namespace quire
