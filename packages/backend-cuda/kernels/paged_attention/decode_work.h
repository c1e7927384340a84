// The work of decode attention, spread flat over a fixed grid. The context of a (row, work head) is cut into tiles of 64
// positions and chunks of whole tiles; chunk boundaries depend on that row's length alone. All tiles of all rows lie on one
// line, row by row and head by head, and each block takes the chunks that start in its equal part of that line.
//
// A chunk's result (maximum, sum, output) is computed from scratch, and the results of a row are folded in the order of its
// positions, always by the same operations: inside the block that owns the chunks, as far as it owns them from the first on;
// the others go to the workspace, and the last block to arrive folds them. So a row's bits depend on neither batch nor grid.
//
// Only the ends of a block's part can cut a row: counters and slots are numbered by block, whatever the batch.
// Design: flat tiles over a persistent grid (Tencent HPC-Ops), with fixed chunks.
#pragma once
#include <algorithm>

#include "../lib/row_state.h"
#include "tiles.h"

namespace quire {

constexpr uint32_t kMinChunkTiles = 2, kMaxChunks = 32;

__host__ __device__ inline uint32_t chunkTilesOf(uint32_t tiles) {
  const uint32_t even = (tiles + kMaxChunks - 1) / kMaxChunks;
  return even > kMinChunkTiles ? even : kMinChunkTiles;
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

// A place on the line.
struct Cursor {
  int row, head;
  uint32_t tile;
  RowTiles tiles;
  __device__ void enter(const DecodeWork& w, int r) { row = r, tiles = RowTiles::of(w, r); }
  // To the next tile of the line. There must be one.
  __device__ void next(const DecodeWork& w) { tile++, settle(w); }
  __device__ void settle(const DecodeWork& w) {
    while (tile >= tiles.tiles) {
      tile = 0;
      if (tiles.tiles > 0 && ++head < w.workHeads) continue;
      head = 0;
      enter(w, row + 1);
    }
  }
  __device__ bool startsHead() const { return tile == 0; }
  __device__ bool endsHead() const { return tile + 1 == tiles.tiles; }
  __device__ bool endsChunk() const { return endsHead() || (tile + 1) % tiles.chunkTiles == 0; }
  __device__ uint32_t firstPosition() const { return (tiles.firstTile + tile) * kTileTokens; }
  __device__ Pages pages(const DecodeWork& w, int kvHeads, int kvHead) const {
    return {w.blockTables + static_cast<int64_t>(tiles.tableRow) * w.maxBlocks, w.blockShift, kvHeads, kvHead};
  }
};

// The part of one block: `tiles` tiles from the cursor on. `share` is the length of the parts before they were moved to the
// starts of chunks, `headStart` the place of the cursor's (row, head) on the line.
struct BlockPart {
  uint32_t tiles, share, headStart;
  Cursor cursor;
};

// By all threads of a block. Every thread counts some of the rows; those that hold an end of the part place it.
__device__ inline BlockPart findPart(const DecodeWork& w) {
  SHARED(uint32_t, warpTotals, kAttentionWarps);
  SHARED(uint32_t, place, 5);  // start on the line, row, head, tile; end on the line
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int perThread = (w.rows + kAttentionThreads - 1) / kAttentionThreads;
  const int firstRow = threadIdx.x * perThread, lastRow = firstRow + perThread < w.rows ? firstRow + perThread : w.rows;
  uint32_t mine = 0;
  for (int row = firstRow; row < lastRow; row++) mine += RowTiles::of(w, row).tiles * w.workHeads;
  uint32_t upTo = mine;
  for (int by = 1; by < 32; by *= 2) {
    const uint32_t before = __shfl_up_sync(kFullMask, upTo, by);
    if (lane >= by) upTo += before;
  }
  if (lane == 31) warpTotals[warp] = upTo;
  __syncthreads();
  uint32_t total = 0;
  for (int i = 0; i < kAttentionWarps; i++) {
    if (i < warp) upTo += warpTotals[i];
    total += warpTotals[i];
  }
  const uint32_t share = (total + gridDim.x - 1) / gridDim.x;
  const uint32_t from = blockIdx.x * share < total ? blockIdx.x * share : total, to = from + share < total ? from + share : total;
  if (threadIdx.x == 0) {
    if (from == total) place[0] = total;
    if (to == total) place[4] = total;
  }
  uint32_t start = upTo - mine;
  for (int row = firstRow; row < lastRow; row++) {
    const RowTiles r = RowTiles::of(w, row);
    const uint32_t next = start + r.tiles * w.workHeads;
    for (int end = 0; end < 2; end++) {
      const uint32_t at = end == 0 ? from : to;
      if (at < start || at >= next) continue;
      // The first chunk that starts at or behind this place, perhaps of the next head or row.
      const uint32_t head = (at - start) / r.tiles, chunk = ((at - start) % r.tiles + r.chunkTiles - 1) / r.chunkTiles;
      const uint32_t tile = chunk * r.chunkTiles < r.tiles ? chunk * r.chunkTiles : r.tiles;
      place[end * 4] = start + head * r.tiles + tile;
      if (end == 0) place[1] = row, place[2] = head, place[3] = tile;
    }
    start = next;
  }
  __syncthreads();
  BlockPart part{place[4] - place[0], share, place[0], {}};
  if (part.tiles == 0) return part;
  part.cursor.head = static_cast<int>(place[2]), part.cursor.tile = place[3];
  part.cursor.enter(w, static_cast<int>(place[1]));
  part.cursor.settle(w);
  part.headStart -= part.cursor.tile;
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
  return static_cast<int>(std::min<int64_t>((tiles + kMinChunkTiles - 1) / kMinChunkTiles, kMaxChunks));
}

// Blocks of a decode launch: as many as the chip holds at once, or one for each chunk that there may be. Lengths do not matter.
inline int decodeGrid(int smCount, int blocksPerSm, int64_t chunks) {
  const int64_t blocks = std::min<int64_t>(static_cast<int64_t>(smCount) * blocksPerSm, kWorkspaceCounters);
  return static_cast<int>(std::min(blocks, chunks));
}

// Shared memory of an SM in bytes, by the first GPU. A block takes kBlockReserve of it beside its dynamic part.
constexpr int kBlockReserve = 1024 + 128;
inline int sharedBytesPerSm() {
  static const int bytes = [] {
    int perBlock = 0;
    cudaDeviceGetAttribute(&perBlock, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0);
    return perBlock + 1024;
  }();
  return bytes;
}

}  // namespace quire
