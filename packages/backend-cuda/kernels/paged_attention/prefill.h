// pagedAttention of all tokens behind the decode rows: prefill, chunks of it, and padding: the kernel, which prefill.cu and
// prefill_codes.cu compile. A block owns one tile of queries of
// one sequence and KV head: rows are (query, head of the group) pairs, 64 or 128 of them, so that the heads of a group share
// the keys they load. It walks the visible positions in tiles of 64. Each warp has 16 or 32 rows and their online softmax;
// scores and outputs stay in registers, P is repacked in registers as the A operand of P V.
//
// K of the next tile arrives while this one is computed, V of this one during Q K^T and softmax; Q, K and V of the first tile are
// requested together, as short prompts have no other. A warp requests its slice of both, whose pages it looks up a tile ahead.
// Masks are applied only where a tile crosses the visible range of a warp's rows. Tiles start at multiples of 64 of the position,
// and a masked tile changes nothing bit for bit: a token's result depends on neither its chunk nor its batch. Blocks start with
// those that see most.
// For 16-bit activations with a cache of the same dtype, or of codes: each warp makes 16-bit elements of its slice as soon as it
// is there, and requests the next one into its place. Pages of a power of two. Rows of spent sequences and padding become 0.
//
// Measured on an H200 (bf16, 32/8 heads of 128, causal): 1 x 8,192 tokens 352 TFLOP/s, 4 x 2,048 303, 1 x 2,048 286, 1 x 512 22 us.
// Steps of 32 positions, which leave more registers, reached 321; 64 rows to a tile 252 to 275. Caches of codes are not measured.
// Design: FlashAttention-2 (Dao 2023) over pages, with packed groups as in FlashInfer; maxima that lag as in FlashAttention-4.
#pragma once
#include "prefill_rows.h"
#include "query_tiles.h"
#include "variants.h"

namespace quire {
namespace {

// The slices of a warp, on their way to the tiles of keys and values.
template <class T, class C, int kHeadDim, int kBands>
struct SliceFeed {
  using S = PrefillShape<C, kHeadDim, kBands>;
  using Layout = TileLayout<kHeadDim>;
  static constexpr int kRow = kRowElements<C, kHeadDim>;
  static constexpr int kScales = kSliceScaleBytes / static_cast<int>(sizeof(float)), kTileScales = kAttentionWarps * kScales;
  KvCache<C> keyCache, valueCache;
  // Tiles of keys and of values. Of codes, behind the latter: the scales of two tiles, and where each warp's codes arrive, keys in
  // front of values.
  char *keyTiles, *valueTile;

  // The warp's own slice of a tile. Addresses are found anew each time: nothing of them takes a register of the products.
  __device__ char* sliceOf(char* tile) const { return tile + threadAnew() / 32 * Layout::kSliceBytes; }
  __device__ char* codes() const { return valueTile + Layout::kTileBytes + 2 * kAttentionWarps * kSliceScaleBytes + threadAnew() / 32 * 2 * S::kCodeSliceBytes; }
  __device__ float* scales(int stage) const { return reinterpret_cast<float*>(valueTile + Layout::kTileBytes) + stage * kTileScales; }

  __device__ void requestKeys(int stage, uint32_t row) const {
    if constexpr (S::kCodes) {
      copySlice<kRow>(codes(), tileElements(keyCache), row, laneAnew());
      copyScales(scales(stage) + threadAnew() / 32 * kScales, keyCache, valueCache, row, laneAnew());
    } else {
      copySlice<kRow>(sliceOf(keyTiles + stage * Layout::kTileBytes), tileElements(keyCache), row, laneAnew());
    }
  }
  __device__ void requestValues(uint32_t row) const {
    if constexpr (S::kCodes) copySlice<kRow>(codes() + S::kCodeSliceBytes, tileElements(valueCache), row, laneAnew());
    else copySlice<kRow>(sliceOf(valueTile), tileElements(valueCache), row, laneAnew());
  }
  // By all lanes of the warp, when the request is complete; a barrier of the block follows.
  __device__ void acceptKeys() const {
    if constexpr (S::kCodes) {
      __syncwarp();
      widenSlice<T, C, kHeadDim>(sliceOf(keyTiles), codes());
      __syncwarp();  // the next keys go where these came from
    }
  }
  __device__ void acceptValues() const {
    if constexpr (S::kCodes) {
      __syncwarp();
      widenSlice<T, C, kHeadDim>(sliceOf(valueTile), codes() + S::kCodeSliceBytes);
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
  const int kvHead = blockIdx.x, outWidth = p.heads * kHeadDim;
  const PackedRows<kHeadDim> packed{q.queryStart, q.queryLen * p.group, p.group, kvHead * p.group};
  if (q.contextLen == 0) return packed.zero(out, outWidth, q.firstRow, S::kRows);

  const uint32_t start = q.contextLen - q.queryLen, rowsEnd = q.firstRow + S::kRows < packed.count ? q.firstRow + S::kRows : packed.count;
  const uint32_t firstQuery = start + q.firstRow / p.group, end = start + (rowsEnd - 1) / p.group + 1;
  const uint32_t begin = p.window > 0 && firstQuery + 1 > static_cast<uint32_t>(p.window) ? firstQuery + 1 - p.window : 0;
  const Pages pages{p.blockTables + static_cast<int64_t>(q.tableRow) * p.maxBlocks, p.blockShift, p.kvHeads, kvHead};
  uint32_t tileStart = begin / kTileTokens * kTileTokens;
  auto lookUp = [&](uint32_t tile) { return sliceRow(pages, tile + threadAnew() / 32 * kSliceTokens, begin, end); };
  uint32_t row = lookUp(tileStart), nextRow = lookUp(tileStart + kTileTokens);

  char *const queries = shared, *const keys = queries + S::kQueryBytes, *const values = keys + S::kKeyStages * Layout::kTileBytes;
  const SliceFeed<T, C, kHeadDim, kBands> feed{kCache, vCache, keys, values};
  packed.request(queries, qkv, p.width, q.firstRow, S::kRows);
  feed.requestKeys(tileStart / kTileTokens % 2, row);
  cpAsyncCommit();
  feed.requestValues(row);
  cpAsyncCommit();
  launchDependents();

  PrefillRows<T, C, kHeadDim, kBands> rows(queries, q.firstRow, start, p.group);
  for (; tileStart < end; tileStart += kTileTokens) {
    const bool first = tileStart <= begin;
    const int stage = tileStart / kTileTokens % 2;
    if (first) cpAsyncWait<1>();
    else cpAsyncWait<0>();
    feed.acceptKeys();
    __syncthreads();  // K is there, and all have done with the tile in front
    if (!first) feed.requestValues(row);
    cpAsyncCommit();
    if (tileStart + kTileTokens < end) feed.requestKeys(stage ^ 1, nextRow);
    cpAsyncCommit();
    row = nextRow, nextRow = lookUp(tileStart + 2 * kTileTokens);
    if (first) rows.keepQuery();
    // Rows that see nothing of the tile would leave it as they came.
    const bool visible = rows.see(tileStart, end, p.window);
    const float* const scales = feed.scales(stage);
    float score[kBands][8][4];
    if (visible) {
      rows.multiplyKeys(keys + stage % S::kKeyStages * Layout::kTileBytes, score);
      rows.settle(score, tileStart, p.window, p.scale, scales);
    }
    cpAsyncWait<1>();
    feed.acceptValues();
    __syncthreads();  // V is there
    if (visible) rows.multiplyValues(values, score, p.scale, scales);
  }
  rows.stage();
  __syncwarp();
  packed.store(out, outWidth, rows.queries, rows.firstRow, 16 * kBands);
}

template <class T, class C, int kHeadDim, int kBands>
cudaError_t launch(const PagedAttention& a, const Step& s) {
  using S = PrefillShape<C, kHeadDim, kBands>;
  const GpuLaunch l{"attentionPrefill", {static_cast<unsigned>(a.shape.kvHeads), static_cast<unsigned>(mostTiles(a, s, S::kRows))}, {kAttentionThreads}, S::kSharedBytes, s.stream};
  return gpuLaunch(l, prefill<T, C, kHeadDim, kBands>, a.qkv.as<T>(), kvCache<C>(a.kCache, a.kScales), kvCache<C>(a.vCache, a.vScales), a.out.as<T>(), problemOf(a, s));
}

template <class T, class C, int kHeadDim>
cudaError_t launchBands(const PagedAttention& a, const Step& s) {
  // 128 rows where the outputs fit the registers, such tiles fill the chip, which holds two to an SM, and the sequences fill them. The
  // bits are the same.
  if constexpr (kHeadDim <= 128) {
    using Tall = PrefillShape<C, kHeadDim, 2>;
    const int64_t queries = a.out.rows - s.sizes.decodeSequences, sequences = s.sizes.sequences - s.sizes.decodeSequences;
    const bool isFull = queries * (a.shape.heads / a.shape.kvHeads) * 2 > sequences * Tall::kRows;
    if (isFull && mostTiles(a, s, Tall::kRows) * a.shape.kvHeads > 2 * s.smCount) return launch<T, C, kHeadDim, 2>(a, s);
  }
  return launch<T, C, kHeadDim, 1>(a, s);
}

}  // namespace
}  // namespace quire
