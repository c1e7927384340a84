// Launch functions of the operations of the paged cache and of attention over it; see kernels.h.
#pragma once
#include "step.h"

namespace quire {

struct AttentionShape {
  int heads, kvHeads, headDim, blockSize;
};

// RMS norms of query and key heads, before they are rotated; no weights, no norm.
struct HeadNorms { Tensor qNorm, kNorm; float eps = 0; };
struct Rope { Tensor qkv, positions, table; int heads, kvHeads, headDim, rotaryDim; bool interleaved; HeadNorms norms; };
// kScales and vScales: of caches of codes.
struct KvWrite { Tensor qkv, slotMapping, kCache, vCache; AttentionShape shape; Tensor kScales, vScales; };
struct RopeKvWrite { Tensor qkv, positions, table, slotMapping, kCache, vCache; int rotaryDim; bool interleaved; AttentionShape shape; HeadNorms norms; Tensor kScales, vScales; };
struct PagedAttention { Tensor qkv, kCache, vCache, sequences, blockTables, out; float scale; int window; float softCap; AttentionShape shape; Tensor kScales, vScales; };
struct CopyBlocks { Tensor kCache, vCache, pairs, kScales, vScales; };
struct ZeroBlocks { Tensor kCache, vCache, blocks, kScales, vScales; };

cudaError_t rope(const Rope&, const Step&);
cudaError_t kvWrite(const KvWrite&, const Step&);
cudaError_t ropeKvWrite(const RopeKvWrite&, const Step&);
cudaError_t pagedAttention(const PagedAttention&, const Step&);
cudaError_t copyBlocks(const CopyBlocks&, const Step&);
cudaError_t zeroBlocks(const ZeroBlocks&, const Step&);

// Bytes of workspace that an operation needs at the largest sizes.
size_t pagedAttentionWorkspace(const PagedAttention&, const StepSizes& maxSizes, int smCount);
size_t copyBlocksWorkspace(const CopyBlocks&);

}  // namespace quire
