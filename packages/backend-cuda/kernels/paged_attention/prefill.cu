// pagedAttention of all tokens behind the decode rows: prefill, chunks of it, and padding. A block owns one tile of queries of
// one sequence and KV head: rows are (query, head of the group) pairs, 64 or 128 of them, so that the heads of a group share
// the keys they load. It walks the visible positions in tiles of 64. Each warp has 16 or 32 rows and their online softmax;
// scores and outputs stay in registers, P is repacked in registers as the A operand of P V.
//
// K of the next tile arrives while this one is computed, V of this one during Q K^T and softmax; a warp requests its slice of
// both, whose pages it looks up a tile ahead. Masks are applied only where a tile crosses the visible range of a warp's rows.
// Tiles start at multiples of 64 of the position, and a masked tile changes nothing bit for bit: a token's result depends on
// neither its chunk nor its batch. Blocks start with those that see most.
// For 16-bit activations and a cache of the same dtype; pages of a power of two. Rows of spent sequences and padding become 0.
//
// Measured on an H200 (bf16, 32/8 heads of 128, causal): 1 x 8,192 tokens 352 TFLOP/s, 4 x 2,048 303, 1 x 2,048 286, 1 x 512 22 us.
// Steps of 32 positions, which leave more registers, reached 321; 64 rows to a tile 252 to 275.
// Design: FlashAttention-2 (Dao 2023) over pages, with packed groups as in FlashInfer; maxima that lag as in FlashAttention-4.
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

template <class T, int kHeadDim, int kBands>
__global__ void __launch_bounds__(kAttentionThreads) prefill(const T* qkv, const T* kCache, const T* vCache, T* out, Problem p) {
  using S = PrefillShape<T, kHeadDim, kBands>;
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
  char *const keySlice = keys + warp * Layout::kSliceBytes, *const valueSlice = values + warp * Layout::kSliceBytes;
  packed.request(queries, qkv, p.width, q.firstRow, S::kRows);
  copySlice<kHeadDim>(keySlice, kCache, row);
  cpAsyncCommit();
  launchDependents();

  PrefillRows<T, kHeadDim, kBands> rows(queries, q.firstRow, start, p.group);
  bool first = true;
  for (int stage = 0; tileStart < end; tileStart += kTileTokens, stage ^= 1, first = false) {
    cpAsyncWait<0>();
    __syncthreads();  // K is there, and all have done with the tile in front
    copySlice<kHeadDim>(valueSlice, vCache, row);
    cpAsyncCommit();
    if (tileStart + kTileTokens < end) copySlice<kHeadDim>(keySlice + (stage ^ 1) * Layout::kTileBytes, kCache, nextRow);
    cpAsyncCommit();
    row = nextRow, nextRow = lookUp(tileStart + 2 * kTileTokens);
    if (first) rows.keepQuery();
    // Rows that see nothing of the tile would leave it as they came.
    const bool visible = rows.firstPosition < end && tileStart <= rows.lastPosition && (p.window == 0 || tileStart + kTileTokens + p.window > rows.firstPosition + 1);
    float score[kBands][8][4], factor = 1;
    if (visible) {
      rows.multiplyKeys(keys + stage * Layout::kTileBytes, score);
      factor = rows.settle(score, tileStart, p.window, p.scale);
    }
    cpAsyncWait<1>();
    __syncthreads();  // V is there
    if (visible) rows.multiplyValues(values, score, factor);
  }
  rows.stage();
  __syncwarp();
  packed.store(out, outWidth, rows.queries, rows.firstRow, 16 * kBands);
}

// Tiles of so many rows that the queries of a step may need: every sequence, and the padding, may end within one.
int64_t mostTiles(const PagedAttention& a, const Step& s, int rowsOfTile) {
  const int64_t rows = static_cast<int64_t>(a.out.rows - s.sizes.decodeSequences) * (a.shape.heads / a.shape.kvHeads);
  return rows / rowsOfTile + s.sizes.sequences - s.sizes.decodeSequences + 1;
}

template <class T, int kHeadDim, int kBands>
cudaError_t launch(const PagedAttention& a, const Step& s) {
  using S = PrefillShape<T, kHeadDim, kBands>;
  const Problem problem{a.sequences.as<uint32_t>(), a.blockTables.as<uint32_t>(), s.sizes.sequences, s.sizes.decodeSequences, a.out.rows, static_cast<int>(a.blockTables.columns), blockShift(a.shape),
                        static_cast<int>(a.qkv.columns), a.shape.heads, a.shape.kvHeads, a.shape.heads / a.shape.kvHeads, a.window, scoreScale(a)};
  const GpuLaunch l{"attentionPrefill", {static_cast<unsigned>(a.shape.kvHeads), static_cast<unsigned>(mostTiles(a, s, S::kRows))}, {kAttentionThreads}, S::kSharedBytes, s.stream};
  return gpuLaunch(l, prefill<T, kHeadDim, kBands>, a.qkv.as<T>(), a.kCache.as<T>(), a.vCache.as<T>(), a.out.as<T>(), problem);
}

}  // namespace

bool prefillTakes(const PagedAttention& a) { return sixteenBit(a) && regular(a.shape) && fastHeadDim(a.shape.headDim); }

cudaError_t prefillLaunch(const PagedAttention& a, const Step& s) {
  return withHeadDim(a.shape.headDim, [&](auto dim) {
    constexpr int kHeadDim = decltype(dim)::value;
    auto withType = [&](auto* element) {
      using T = Element<decltype(element)>;
      // 128 rows where the outputs fit the registers and such tiles fill the chip, which holds two to an SM. The bits are the same.
      if constexpr (kHeadDim <= 128) {
        if (mostTiles(a, s, PrefillShape<T, kHeadDim, 2>::kRows) * a.shape.kvHeads > 2 * s.smCount) return launch<T, kHeadDim, 2>(a, s);
      }
      return launch<T, kHeadDim, 1>(a, s);
    };
    return a.qkv.dtype == DType::f16 ? withType(static_cast<__half*>(nullptr)) : withType(static_cast<__nv_bfloat16*>(nullptr));
  });
}

}  // namespace quire
