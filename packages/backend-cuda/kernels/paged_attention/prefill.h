// pagedAttention of all tokens behind the decode rows: prefill, chunks of it, and padding: the kernel, which prefill.cu and
// prefill_codes.cu compile. A block owns one tile of queries of
// one sequence and KV head: rows are (query, head of the group) pairs, 64 or 128 of them, so that the heads of a group share
// the keys they load. It walks the visible positions in tiles of 64. Each warp has 16 or 32 rows and their online softmax;
// scores and outputs stay in registers, P is repacked in registers as the A operand of P V.
//
// K of the next tile arrives while this one is computed, V of this one during Q K^T and softmax; a warp requests its slice of
// both, whose pages it looks up a tile ahead. Masks are applied only where a tile crosses the visible range of a warp's rows.
// Tiles start at multiples of 64 of the position, and a masked tile changes nothing bit for bit: a token's result depends on
// neither its chunk nor its batch. Blocks start with those that see most.
// For 16-bit activations with a cache of the same dtype, or of codes: each warp makes 16-bit elements of its slice as soon as it
// is there, and requests the next one into its place. Pages of a power of two. Rows of spent sequences and padding become 0.
//
// Measured on an H200 (bf16, 32/8 heads of 128, causal): 1 x 8,192 tokens 352 TFLOP/s, 4 x 2,048 303, 1 x 2,048 286, 1 x 512 22 us.
// Steps of 32 positions, which leave more registers, reached 321; 64 rows to a tile 252 to 275. Caches of codes are not measured.
// Design: FlashAttention-2 (Dao 2023) over pages, with packed groups as in FlashInfer; maxima that lag as in FlashAttention-4.
#pragma once
#include "../lib/row_state.h"
#include "prefill_rows.h"
#include "variants.h"

namespace quire {
namespace {

struct Problem {
  const uint32_t *sequences, *blockTables;
  int numSequences, decodeSequences, tokens, maxBlocks, blockShift;
  int width, heads, kvHeads, group, window;
  ScoreScale scale;
};

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
template <int kHeadDim>
struct PackedRows {
  static constexpr int kUnits = TileLayout<kHeadDim>::kUnits;
  uint32_t queryStart, count;
  int group, firstHead;
  // The place of a row among rows of `width` elements.
  __device__ int64_t element(uint32_t row, int width) const { return static_cast<int64_t>(queryStart + row / group) * width + (firstHead + row % group) * kHeadDim; }

  // By all threads of a block: `rows` rows from firstRow on.
  template <class T>
  __device__ void zero(T* out, int width, uint32_t firstRow, int rows) const {
    for (int i = threadIdx.x; i < rows * kUnits; i += kAttentionThreads) {
      const uint32_t row = firstRow + i / kUnits;
      if (row < count) GPU_STORE(reinterpret_cast<uint4*>(out + element(row, width)) + i % kUnits, (uint4{0, 0, 0, 0}));
    }
  }
  template <class T>
  __device__ void request(char* tile, const T* qkv, int width, uint32_t firstRow, int rows) const {
    for (int i = threadIdx.x; i < rows * kUnits; i += kAttentionThreads) {
      const uint32_t row = firstRow + i / kUnits;
      const bool valid = row < count;
      cpAsync16(tile + TileLayout<kHeadDim>::offset(i / kUnits, i % kUnits), valid ? qkv + element(row, width) + i % kUnits * 8 : qkv, valid ? 16 : 0);
    }
  }
  // By all lanes of a warp, from its rows in shared memory.
  template <class T>
  __device__ void store(T* out, int width, const char* tile, uint32_t firstRow, int rows) const {
    for (int i = threadIdx.x % 32; i < rows * kUnits; i += 32) {
      const uint32_t row = firstRow + i / kUnits;
      if (row >= count) continue;
      GPU_STORE(reinterpret_cast<uint4*>(out + element(row, width)) + i % kUnits, *reinterpret_cast<const uint4*>(tile + TileLayout<kHeadDim>::offset(i / kUnits, i % kUnits)));
    }
  }
};

// The slices of a warp, on their way to the tiles of keys and values.
template <class T, class C, int kHeadDim, int kBands>
struct SliceFeed {
  using S = PrefillShape<C, kHeadDim, kBands>;
  using Layout = TileLayout<kHeadDim>;
  static constexpr int kRow = kRowElements<C, kHeadDim>;
  KvCache<C> keyCache, valueCache;
  // The warp's own slices of the tiles.
  char *keys, *values;
  // Of codes: the scales of two tiles, and where the warp's codes arrive, keys in front of values.
  float* scales;
  char* codes;
  static constexpr int kScales = kSliceScaleBytes / static_cast<int>(sizeof(float)), kTileScales = kAttentionWarps * kScales;

  __device__ SliceFeed(const KvCache<C>& k, const KvCache<C>& v, char* keyTiles, char* valueTile) : keyCache(k), valueCache(v) {
    const int warp = threadIdx.x / 32;
    keys = keyTiles + warp * Layout::kSliceBytes, values = valueTile + warp * Layout::kSliceBytes;
    scales = reinterpret_cast<float*>(valueTile + Layout::kTileBytes);
    codes = valueTile + Layout::kTileBytes + 2 * kAttentionWarps * kSliceScaleBytes + warp * 2 * S::kCodeSliceBytes;
  }

  __device__ void requestKeys(int stage, uint32_t row) const {
    if constexpr (S::kCodes) {
      copySlice<kRow>(codes, tileElements(keyCache), row);
      copyScales(scales + stage * kTileScales + threadIdx.x / 32 * kScales, keyCache, valueCache, row);
    } else {
      copySlice<kRow>(keys + stage * Layout::kTileBytes, tileElements(keyCache), row);
    }
  }
  __device__ void requestValues(uint32_t row) const {
    if constexpr (S::kCodes) copySlice<kRow>(codes + S::kCodeSliceBytes, tileElements(valueCache), row);
    else copySlice<kRow>(values, tileElements(valueCache), row);
  }
  // By all lanes of the warp, when the request is complete; a barrier of the block follows.
  __device__ void acceptKeys() const {
    if constexpr (S::kCodes) {
      __syncwarp();
      widenSlice<T, C, kHeadDim>(keys, codes);
      __syncwarp();  // the next keys go where these came from
    }
  }
  __device__ void acceptValues() const {
    if constexpr (S::kCodes) {
      __syncwarp();
      widenSlice<T, C, kHeadDim>(values, codes + S::kCodeSliceBytes);
      __syncwarp();
    }
  }
};

template <class T, class C, int kHeadDim, int kBands>
__global__ void __launch_bounds__(kAttentionThreads) prefill(const T* qkv, KvCache<C> kCache, KvCache<C> vCache, T* out, Problem p) {
  using S = PrefillShape<C, kHeadDim, kBands>;
  using Layout = TileLayout<kHeadDim>;
  DYN_SHARED(char, shared);
  waitForPrevious();
  const QueryTile q = findTile<S::kRows>(p);
  if (!q.exists) return;
  const int kvHead = blockIdx.x, warp = threadIdx.x / 32, outWidth = p.heads * kHeadDim;
  const PackedRows<kHeadDim> packed{q.queryStart, q.queryLen * p.group, p.group, kvHead * p.group};
  if (q.contextLen == 0) return packed.zero(out, outWidth, q.firstRow, S::kRows);

  const uint32_t start = q.contextLen - q.queryLen, rowsEnd = q.firstRow + S::kRows < packed.count ? q.firstRow + S::kRows : packed.count;
  const uint32_t firstQuery = start + q.firstRow / p.group, end = start + (rowsEnd - 1) / p.group + 1;
  const uint32_t begin = p.window > 0 && firstQuery + 1 > static_cast<uint32_t>(p.window) ? firstQuery + 1 - p.window : 0;
  const Pages pages{p.blockTables + static_cast<int64_t>(q.tableRow) * p.maxBlocks, p.blockShift, p.kvHeads, kvHead};
  uint32_t tileStart = begin / kTileTokens * kTileTokens;
  auto lookUp = [&](uint32_t tile) { return sliceRow(pages, tile + warp * kSliceTokens, begin, end); };
  uint32_t row = lookUp(tileStart), nextRow = lookUp(tileStart + kTileTokens);

  char *const queries = shared, *const keys = queries + S::kQueryBytes, *const values = keys + S::kKeyStages * Layout::kTileBytes;
  const SliceFeed<T, C, kHeadDim, kBands> feed(kCache, vCache, keys, values);
  packed.request(queries, qkv, p.width, q.firstRow, S::kRows);
  feed.requestKeys(0, row);
  cpAsyncCommit();
  launchDependents();

  PrefillRows<T, C, kHeadDim, kBands> rows(queries, q.firstRow, start, p.group);
  bool first = true;
  for (int stage = 0; tileStart < end; tileStart += kTileTokens, stage ^= 1, first = false) {
    cpAsyncWait<0>();
    feed.acceptKeys();
    __syncthreads();  // K is there, and all have done with the tile in front
    feed.requestValues(row);
    cpAsyncCommit();
    if (tileStart + kTileTokens < end) feed.requestKeys(stage ^ 1, nextRow);
    cpAsyncCommit();
    row = nextRow, nextRow = lookUp(tileStart + 2 * kTileTokens);
    if (first) rows.keepQuery();
    // Rows that see nothing of the tile would leave it as they came.
    const bool visible = rows.firstPosition < end && tileStart <= rows.lastPosition && (p.window == 0 || tileStart + kTileTokens + p.window > rows.firstPosition + 1);
    const float* const scales = feed.scales + stage * feed.kTileScales;
    float score[kBands][8][4], factor = 1;
    if (visible) {
      rows.multiplyKeys(keys + stage % S::kKeyStages * Layout::kTileBytes, score);
      factor = rows.settle(score, tileStart, p.window, p.scale, scales);
    }
    cpAsyncWait<1>();
    feed.acceptValues();
    __syncthreads();  // V is there
    if (visible) rows.multiplyValues(values, score, factor, scales);
  }
  rows.stage();
  __syncwarp();
  packed.store(out, outWidth, rows.queries, rows.firstRow, 16 * kBands);
}

// Tiles of so many rows that the queries of a step may need: every sequence, and the padding, may end within one.
inline int64_t mostTiles(const PagedAttention& a, const Step& s, int rowsOfTile) {
  const int64_t rows = static_cast<int64_t>(a.out.rows - s.sizes.decodeSequences) * (a.shape.heads / a.shape.kvHeads);
  return rows / rowsOfTile + s.sizes.sequences - s.sizes.decodeSequences + 1;
}

template <class T, class C, int kHeadDim, int kBands>
cudaError_t launch(const PagedAttention& a, const Step& s) {
  using S = PrefillShape<C, kHeadDim, kBands>;
  const Problem problem{a.sequences.as<uint32_t>(), a.blockTables.as<uint32_t>(), s.sizes.sequences, s.sizes.decodeSequences, a.out.rows, static_cast<int>(a.blockTables.columns), blockShift(a.shape),
                        static_cast<int>(a.qkv.columns), a.shape.heads, a.shape.kvHeads, a.shape.heads / a.shape.kvHeads, a.window, scoreScale(a)};
  const GpuLaunch l{"attentionPrefill", {static_cast<unsigned>(a.shape.kvHeads), static_cast<unsigned>(mostTiles(a, s, S::kRows))}, {kAttentionThreads}, S::kSharedBytes, s.stream};
  return gpuLaunch(l, prefill<T, C, kHeadDim, kBands>, a.qkv.as<T>(), kvCache<C>(a.kCache, a.kScales), kvCache<C>(a.vCache, a.vScales), a.out.as<T>(), problem);
}

template <class T, class C, int kHeadDim>
cudaError_t launchBands(const PagedAttention& a, const Step& s) {
  // 128 rows where the outputs fit the registers and such tiles fill the chip, which holds two to an SM. The bits are the same.
  if constexpr (kHeadDim <= 128) {
    if (mostTiles(a, s, PrefillShape<C, kHeadDim, 2>::kRows) * a.shape.kvHeads > 2 * s.smCount) return launch<T, C, kHeadDim, 2>(a, s);
  }
  return launch<T, C, kHeadDim, 1>(a, s);
}

}  // namespace
}  // namespace quire
