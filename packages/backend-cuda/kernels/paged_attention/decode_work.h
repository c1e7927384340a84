// The work of decode attention, spread flat over a fixed grid. The context of a (row, work head) is cut into tiles of 64
// positions and chunks of whole tiles; chunk boundaries depend on that row's length alone. All tiles of all rows lie on one
// line, row by row and head by head, and each block takes the chunks that start in its equal part of that line.
//
// A chunk's result (maximum, sum, output) is computed from scratch, and the results of a row are folded in the order of its
// positions, always by the same operations: inside the block that owns the chunks, as far as it owns them from the first on;
// the others go to the workspace, and the last block to arrive folds them. So a row's bits depend on neither batch nor grid.
//
// Only the end of a block's part can cut a row behind its start: counters and slots belong to the block that has a row's first
// chunk, whatever the batch.
// Design: flat tiles over a persistent grid (Tencent HPC-Ops), with fixed chunks.
#pragma once
#include <algorithm>

#include "../lib/chip.h"
#include "../lib/row_state.h"
#include "tiles.h"

namespace quire {

// A row has up to kEvenChunks chunks until they are of kEvenTiles tiles, longer rows more of that size, up to kMaxChunks.
constexpr uint32_t kMinChunkTiles = 2, kEvenChunks = 16, kEvenTiles = 8, kMaxChunks = 64;

__host__ __device__ inline uint32_t chunkTilesOf(uint32_t tiles) {
  uint32_t size = (tiles + kEvenChunks - 1) / kEvenChunks;
  if (size > kEvenTiles) size = kEvenTiles;
  const uint32_t least = (tiles + kMaxChunks - 1) / kMaxChunks;
  if (size < least) size = least;
  return size > kMinChunkTiles ? size : kMinChunkTiles;
}

struct DecodeWork {
  const uint32_t *sequences, *blockTables;
  int rows, workHeads, window, maxBlocks, blockShift;
  unsigned* counters;
  float* slots;
  int slotsPerBlock;
};

// What one decode row sees: positions begin .. end - 1, in tiles counted from the first that holds one.
struct RowTiles {
  uint32_t begin, end, firstTile, tiles, chunkTiles, tableRow;
  __device__ static RowTiles of(const DecodeWork& w, int row) {
    const uint4 record = *reinterpret_cast<const uint4*>(w.sequences + row * SEQUENCE_WORDS);
    static_assert(Sequence::row == 0 && Sequence::contextLen == 3, "the words of a uint4");
    RowTiles r;
    r.tableRow = record.x, r.end = record.w;
    r.begin = w.window > 0 && r.end > static_cast<uint32_t>(w.window) ? r.end - w.window : 0;
    r.firstTile = r.begin / kTileTokens;
    r.tiles = r.end == 0 ? 0 : (r.end - 1) / kTileTokens + 1 - r.firstTile;
    r.chunkTiles = chunkTilesOf(r.tiles);
    return r;
  }
};

// A place on the line, and the tile of a (row, work head) that lies there.
struct Cursor {
  uint32_t place, tile;
  int row, head;
  RowTiles tiles;
  __device__ void enter(const DecodeWork& w, int r) { row = r, tiles = RowTiles::of(w, r); }
  // Ahead by `count` tiles, which may be all that are left of this head. There must be a tile behind them.
  __device__ void advance(const DecodeWork& w, uint32_t count) { place += count, tile += count, settle(w); }
  __device__ void settle(const DecodeWork& w) {
    while (tile >= tiles.tiles) {
      tile = 0;
      if (tiles.tiles > 0 && ++head < w.workHeads) continue;
      head = 0;
      enter(w, row + 1);
    }
  }
  __device__ uint32_t headStart() const { return place - tile; }
  __device__ uint32_t tilesOfHeadLeft() const { return tiles.tiles - tile; }
  // Of the chunk that starts here.
  __device__ uint32_t tilesOfChunk() const { return tiles.chunkTiles < tilesOfHeadLeft() ? tiles.chunkTiles : tilesOfHeadLeft(); }
  __device__ uint32_t firstPosition() const { return (tiles.firstTile + tile) * kTileTokens; }
  __device__ Pages pages(const DecodeWork& w, int kvHeads, int kvHead) const {
    return {w.blockTables + static_cast<int64_t>(tiles.tableRow) * w.maxBlocks, w.blockShift, kvHeads, kvHead};
  }
};

// The part of one block: the chunks that start between the cursor and the place `end`. `share` is the length of all parts.
struct BlockPart {
  uint32_t share, end;
  Cursor cursor;
  __device__ bool empty() const { return cursor.place >= end; }
};

// By all lanes of a warp, each of which counts some of the rows.
__device__ inline BlockPart findPart(const DecodeWork& w) {
  const int lane = threadIdx.x % 32, perLane = (w.rows + 31) / 32;
  const int firstRow = lane * perLane, lastRow = firstRow + perLane < w.rows ? firstRow + perLane : w.rows;
  uint32_t mine = 0;
  for (int row = firstRow; row < lastRow; row++) mine += RowTiles::of(w, row).tiles * w.workHeads;
  uint32_t upTo = mine;
  for (int by = 1; by < 32; by *= 2) {
    const uint32_t before = __shfl_up_sync(kFullMask, upTo, by);
    if (lane >= by) upTo += before;
  }
  const uint32_t total = __shfl_sync(kFullMask, upTo, 31);
  BlockPart part{(total + gridDim.x - 1) / gridDim.x, 0, {}};
  const uint32_t from = blockIdx.x * part.share;
  part.cursor.place = from;
  if (from >= total) return part;
  part.end = from + part.share < total ? from + part.share : total;
  // The row in which the part begins.
  uint32_t start = upTo - mine;
  int row = firstRow;
  const bool holds = from >= start && from < upTo;
  if (holds) {
    for (uint32_t tiles = RowTiles::of(w, row).tiles * w.workHeads; from - start >= tiles; tiles = RowTiles::of(w, row).tiles * w.workHeads) start += tiles, row++;
  }
  const int owner = __ffs(__ballot_sync(kFullMask, holds)) - 1;
  start = __shfl_sync(kFullMask, start, owner);
  Cursor& c = part.cursor;
  c.enter(w, __shfl_sync(kFullMask, row, owner));
  // The first chunk that starts at or behind the place.
  const uint32_t head = (from - start) / c.tiles.tiles, tile = from - start - head * c.tiles.tiles;
  const uint32_t chunkStart = (tile + c.tiles.chunkTiles - 1) / c.tiles.chunkTiles * c.tiles.chunkTiles;
  c.head = static_cast<int>(head), c.tile = chunkStart < c.tiles.tiles ? chunkStart : c.tiles.tiles;
  c.place = from + c.tile - tile;
  if (!part.empty()) c.settle(w);
  return part;
}

// Outputs of rows that see nothing become 0.
template <class T>
__device__ __forceinline__ void zeroSpentRows(const DecodeWork& w, T* out, int width) {
  for (int row = blockIdx.x; row < w.rows; row += gridDim.x) {
    if (w.sequences[row * SEQUENCE_WORDS + Sequence::contextLen] != 0) continue;
    for (int c = threadIdx.x; c < width; c += kAttentionThreads) out[static_cast<int64_t>(row) * width + c] = fromFloat<T>(0.0f);
  }
}

// The largest number of chunks of a row of so many positions or fewer.
inline int maxChunks(int64_t positions) {
  const int64_t tiles = (positions + kTileTokens - 1) / kTileTokens;
  const int64_t even = std::min<int64_t>((tiles + kMinChunkTiles - 1) / kMinChunkTiles, kEvenChunks);
  return static_cast<int>(std::min<int64_t>(std::max<int64_t>(even, (tiles + kEvenTiles - 1) / kEvenTiles), kMaxChunks));
}

// Slots of a block for results of chunks.
inline int slotsPerBlock(const PagedAttention& a) { return maxChunks(a.blockTables.columns * a.shape.blockSize); }

inline DecodeWork decodeWork(const PagedAttention& a, const Step& s, int workHeads) {
  return {a.sequences.as<uint32_t>(), a.blockTables.as<uint32_t>(), s.sizes.decodeSequences, workHeads, a.window, static_cast<int>(a.blockTables.columns), blockShift(a.shape), s.workspace.counters(),
          s.workspace.scratch<float>(), slotsPerBlock(a)};
}

// Blocks of a decode launch: as many as the chip holds at once, or one for each chunk that there may be. Lengths do not matter.
inline int decodeGrid(int smCount, int blocksPerSm, int64_t chunks) {
  const int64_t blocks = std::min<int64_t>(static_cast<int64_t>(smCount) * blocksPerSm, kWorkspaceCounters);
  return static_cast<int>(std::min(blocks, chunks));
}

}  // namespace quire
