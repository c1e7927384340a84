// The queries of prefill: which of them a block has, and how they are packed into rows: (query, head of the group) pairs of one
// sequence and KV head.
#pragma once
#include "../lib/row_state.h"
#include "tiles.h"

namespace quire {
namespace {

struct Problem {
  const uint32_t *sequences, *blockTables;
  int numSequences, decodeSequences, tokens, maxBlocks, blockShift;
  int width, heads, kvHeads, group, window;
  ScoreScale scale;
};

inline Problem problemOf(const PagedAttention& a, const Step& s) {
  return {a.sequences.as<uint32_t>(), a.blockTables.as<uint32_t>(), s.sizes.sequences, s.sizes.decodeSequences, a.out.rows, static_cast<int>(a.blockTables.columns), blockShift(a.shape),
          static_cast<int>(a.qkv.columns), a.shape.heads, a.shape.kvHeads, a.shape.heads / a.shape.kvHeads, a.window, scoreScale(a)};
}

// The queries of a block: rows firstRow .. of the packed queries of one sequence. contextLen 0: they become 0.
struct QueryTile {
  uint32_t tableRow, queryStart, queryLen, contextLen, firstRow;
  bool exists;
};

// By all lanes of a warp: the tile of queries that is the blockIdx.y-th from the end, padding behind the last sequence. The
// tiles at the end of a long prompt see most, and start first.
template <int kRows>
__device__ QueryTile findTile(const Problem& p) {
  const int lane = threadIdx.x % 32, count = p.numSequences - p.decodeSequences, perLane = (count + 31) / 32;
  const int first = lane * perLane, last = first + perLane < count ? first + perLane : count;
  auto record = [&](int i) { return *reinterpret_cast<const uint4*>(p.sequences + (p.decodeSequences + i) * SEQUENCE_WORDS); };
  static_assert(Sequence::row == 0 && Sequence::queryStart == 1 && Sequence::queryLen == 2 && Sequence::contextLen == 3, "the words of a uint4");
  auto tilesOf = [&](uint32_t queryLen) { return (queryLen * p.group + kRows - 1) / kRows; };
  uint32_t mine = 0, end = p.decodeSequences;
  for (int i = first; i < last; i++) {
    const uint4 r = record(i);
    mine += tilesOf(r.z);
    end = r.y + r.z > end ? r.y + r.z : end;
  }
  uint32_t upTo = mine;
  for (int by = 1; by < 32; by *= 2) {
    const uint32_t before = __shfl_up_sync(kFullMask, upTo, by);
    if (lane >= by) upTo += before;
  }
  end = __reduce_max_sync(kFullMask, end);
  const uint32_t total = __shfl_sync(kFullMask, upTo, 31), all = total + tilesOf(p.tokens - end);
  if (blockIdx.y >= all) return {0, 0, 0, 0, 0, false};
  const uint32_t tile = all - 1 - blockIdx.y;
  if (tile >= total) return {0, end, p.tokens - end, 0, (tile - total) * kRows, true};
  const bool holds = tile >= upTo - mine && tile < upTo;
  int sequence = first;
  uint32_t local = tile - (upTo - mine);
  if (holds) {
    for (uint32_t tiles = tilesOf(record(sequence).z); local >= tiles; tiles = tilesOf(record(sequence).z)) local -= tiles, sequence++;
  }
  const int owner = __ffs(__ballot_sync(kFullMask, holds)) - 1;
  const uint4 r = record(__shfl_sync(kFullMask, sequence, owner));
  return {r.x, r.y, r.z, r.w, __shfl_sync(kFullMask, local, owner) * kRows, true};
}

// The packed rows of a sequence and KV head: (query, head of the group) pairs.
template <int kHeadDim, class Layout = TileLayout<kHeadDim>, int kThreads = kAttentionThreads>
struct PackedRows {
  static constexpr int kUnits = kHeadDim / 8;
  uint32_t queryStart, count;
  int group, firstHead;
  // The place of a row among rows of `width` elements.
  __device__ int64_t element(uint32_t row, int width) const { return static_cast<int64_t>(queryStart + row / group) * width + (firstHead + row % group) * kHeadDim; }

  // By all threads of a block: `rows` rows from firstRow on.
  template <class T>
  __device__ void zero(T* out, int width, uint32_t firstRow, int rows) const {
    for (int i = threadIdx.x; i < rows * kUnits; i += kThreads) {
      const uint32_t row = firstRow + i / kUnits;
      if (row < count) GPU_STORE(reinterpret_cast<uint4*>(out + element(row, width)) + i % kUnits, (uint4{0, 0, 0, 0}));
    }
  }
  template <class T>
  __device__ void request(char* tile, const T* qkv, int width, uint32_t firstRow, int rows) const {
    for (int i = threadIdx.x; i < rows * kUnits; i += kThreads) {
      const uint32_t row = firstRow + i / kUnits;
      const bool valid = row < count;
      cpAsync16(tile + Layout::offset(i / kUnits, i % kUnits), valid ? qkv + element(row, width) + i % kUnits * 8 : qkv, valid ? 16 : 0);
    }
  }
  // By all lanes of a warp, from its rows in shared memory.
  template <class T>
  __device__ void store(T* out, int width, const char* tile, uint32_t firstRow, int rows) const {
    for (int i = threadIdx.x % 32; i < rows * kUnits; i += 32) {
      const uint32_t row = firstRow + i / kUnits;
      if (row >= count) continue;
      GPU_STORE(reinterpret_cast<uint4*>(out + element(row, width)) + i % kUnits, *reinterpret_cast<const uint4*>(tile + Layout::offset(i / kUnits, i % kUnits)));
    }
  }
};

// Tiles of so many rows that the queries of a step may need: every sequence, and the padding, may end within one.
inline int64_t mostTiles(const PagedAttention& a, const Step& s, int rowsOfTile) {
  const int64_t rows = static_cast<int64_t>(a.out.rows - s.sizes.decodeSequences) * (a.shape.heads / a.shape.kvHeads);
  return rows / rowsOfTile + s.sizes.sequences - s.sizes.decodeSequences + 1;
}

}  // namespace
}  // namespace quire
