// Tiles of 64 cached positions, as decode and prefill move them: pages are gathered through the block table with 16-byte
// asynchronous copies into rows of shared memory. 16-byte units of a row are permuted (unit ^ f(row)) such that eight rows at
// one unit lie in different banks: ldmatrix reads without conflicts, without padding.
#pragma once
#include "../lib/elements.h"
#include "../ops/attention.h"

namespace quire {

constexpr int kTileTokens = 64;
constexpr int kAttentionThreads = 128, kAttentionWarps = kAttentionThreads / 32;
constexpr int kSliceTokens = kTileTokens / kAttentionWarps;

template <int kHeadDim>
struct TileLayout {
  static_assert(kHeadDim % 16 == 0, "rows are whole pairs of 16-byte units");
  static constexpr int kUnits = kHeadDim / 8;
  // Of eight rows at one unit, kPeriod lie in the same banks.
  static constexpr int kPeriod = kUnits % 8 == 0 ? 8 : kUnits % 4 == 0 ? 4 : 2;
  static constexpr int kRowBytes = kHeadDim * 2, kSliceBytes = kSliceTokens * kRowBytes;
  static_assert(kSliceTokens * kUnits % 32 == 0, "a warp copies a slice in whole steps");
  static constexpr int kTileBytes = kTileTokens * kRowBytes;
  __device__ static int flip(int row) { return row / (8 / kPeriod) % kPeriod; }
  __device__ static int offset(int row, int unit) { return row * kRowBytes + (unit ^ flip(row)) * 16; }
};

// One lane's row of a tile, for ldmatrix: the units 2 k + odd at k = 0, 1, ..., here or a multiple of 16 rows further on.
template <int kHeadDim>
struct FragmentRow {
  const char* row;
  int odd;
  __device__ FragmentRow(const char* tile, int index, int oddUnit) : row(tile + index * TileLayout<kHeadDim>::kRowBytes), odd(oddUnit ^ TileLayout<kHeadDim>::flip(index)) {}
  __device__ const void* at(int k, int rowsOn = 0) const { return row + rowsOn * TileLayout<kHeadDim>::kRowBytes + ((2 * k ^ odd) << 4); }
};

// The pages of one sequence and KV head.
struct Pages {
  const uint32_t* table;
  int blockShift, kvHeads, kvHead;
  // The row of a position in the cache, in units of headDim elements.
  __device__ int64_t row(uint32_t position) const {
    const int64_t block = table[position >> blockShift];
    return (block * kvHeads + kvHead) << blockShift | (position & ((1u << blockShift) - 1));
  }
};

// A warp moves a slice of a tile: kSliceTokens positions from `first` on. Each lane holds the cache row of position
// first + lane % kSliceTokens, looked up ahead of its use; kNoRow outside of [begin, end), where the page is not looked up.
constexpr uint32_t kNoRow = 0xffffffffu;
__device__ __forceinline__ uint32_t sliceRow(const Pages& pages, uint32_t first, uint32_t begin, uint32_t end) {
  const uint32_t position = first + threadIdx.x % kSliceTokens;
  return position >= begin && position < end ? static_cast<uint32_t>(pages.row(position)) : kNoRow;
}

// Issues the copies of a slice, by all lanes of a warp; positions of kNoRow become zero.
template <int kHeadDim, class T>
__device__ __forceinline__ void copySlice(char* slice, const T* cache, uint32_t row, int lane) {
  using Layout = TileLayout<kHeadDim>;
#pragma unroll
  for (int i = 0; i < kSliceTokens * Layout::kUnits / 32; i++) {
    const int item = lane + 32 * i, token = item / Layout::kUnits, unit = item % Layout::kUnits;
    const uint32_t from = __shfl_sync(kFullMask, row, token);
    cpAsync16(slice + Layout::offset(token, unit), from == kNoRow ? cache : cache + static_cast<int64_t>(from) * kHeadDim + unit * 8, from == kNoRow ? 0 : 16);
  }
}

// Scores leave the dot product in units of log2: factor * dot, or cap * tanh(factor * dot).
struct ScoreScale {
  float factor, cap;
  __device__ __forceinline__ float operator()(float dot) const { return cap == 0.0f ? dot * factor : cap * tanhf(dot * factor); }
};
inline ScoreScale scoreScale(const PagedAttention& a) {
  constexpr float kLog2E = 1.44269504f;
  return a.softCap > 0 ? ScoreScale{a.scale / a.softCap, a.softCap * kLog2E} : ScoreScale{a.scale * kLog2E, 0.0f};
}

// The maximum of an online softmax as an exponent's offset: 0 while nothing was visible.
__device__ __forceinline__ float finiteMax(float max) { return max == -INFINITY ? 0.0f : max; }

inline int blockShift(const AttentionShape& s) {
  int shift = 0;
  while (1 << shift < s.blockSize) shift++;
  return shift;
}

}  // namespace quire
