// pagedAttention of all tokens behind the decode rows: prefill, chunks of it, and padding. A block owns one tile of queries of
// one sequence and KV head: rows are (query, head of the group) pairs, 64 or 128 of them, so that the heads of a group share
// the keys they load. It walks the visible positions in tiles of 64. Each warp has 16 or 32 rows and their online softmax;
// scores and outputs stay in registers, P is repacked in registers as the A operand of P V.
//
// K and V have one buffer each: V of a tile arrives while Q K^T of it is computed, and K of the next one during softmax and P V.
// Masks are applied only where a tile crosses the visible range of a warp's rows. Tiles start at multiples of 64 of the
// position, and a masked tile changes nothing bit for bit: a token's result depends on neither its chunk nor its batch.
// For 16-bit activations and a cache of the same dtype; pages of a power of two. Rows of spent sequences and padding become 0.
// Design: FlashAttention-2 (Dao 2023) over pages, with packed groups as in FlashInfer (gpu-kernels.md 4.3).
#include "../lib/row_state.h"
#include "tiles.h"
#include "variants.h"

namespace quire {
namespace {

constexpr int kWarps = kAttentionThreads / 32;
// More would need registers that the outputs hold.
constexpr int kLookups = 2;

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

// By all threads of a block: the tile of queries that is the blockIdx.x-th from the end, padding behind the last sequence. The
// tiles at the end of a long prompt see most, and start first.
template <int kRows>
__device__ QueryTile findTile(const Problem& p) {
  SHARED(uint32_t, warpTotals, kWarps);
  SHARED(uint32_t, warpEnds, kWarps);
  SHARED(uint32_t, found, 2);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, count = p.numSequences - p.decodeSequences;
  const int perThread = (count + kAttentionThreads - 1) / kAttentionThreads;
  const int first = threadIdx.x * perThread, last = first + perThread < count ? first + perThread : count;
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
  if (lane == 31) warpTotals[warp] = upTo, warpEnds[warp] = end;
  __syncthreads();
  uint32_t total = 0;
  for (int i = 0; i < kWarps; i++) {
    if (i < warp) upTo += warpTotals[i];
    total += warpTotals[i];
    end = warpEnds[i] > end ? warpEnds[i] : end;
  }
  const uint32_t all = total + tilesOf(p.tokens - end);
  if (blockIdx.x >= all) return {0, 0, 0, 0, 0, false};
  const uint32_t tile = all - 1 - blockIdx.x;
  if (tile >= total) return {0, end, p.tokens - end, 0, (tile - total) * kRows, true};
  uint32_t start = upTo - mine;
  for (int i = first; i < last; i++) {
    const uint32_t next = start + tilesOf(record(i).z);
    if (tile >= start && tile < next) found[0] = i, found[1] = tile - start;
    start = next;
  }
  __syncthreads();
  const uint4 r = record(static_cast<int>(found[0]));
  return {r.x, r.y, r.z, r.w, found[1] * kRows, true};
}

// kBands: groups of 16 rows of a warp.
template <class T, int kHeadDim, int kBands>
struct Shape {
  static constexpr int kRows = kWarps * 16 * kBands;
  static constexpr int kQueryBytes = kRows * TileLayout<kHeadDim>::kRowBytes;
  static constexpr int kSharedBytes = kQueryBytes + 2 * TileLayout<kHeadDim>::kTileBytes;
  // Fragments of Q stay in registers where the outputs leave room for them.
  static constexpr bool kQueryInRegisters = kHeadDim * kBands <= 128;
};

template <class T, int kHeadDim, int kBands>
struct WarpRows {
  static constexpr int kSteps = kHeadDim / 16;
  static constexpr bool kKeep = Shape<T, kHeadDim, kBands>::kQueryInRegisters;
  char* queries;  // the warp's own rows in shared memory
  uint32_t query[kKeep ? kBands : 1][kKeep ? kSteps : 1][4];
  float out[kBands][2 * kSteps][4];
  // Of the two rows of each band whose columns this lane holds. The sums are the lane's own.
  float max[kBands][2], sum[kBands][2];
  // The packed row at which the warp's begin, the position of row 0, and the positions of the warp's first and last row.
  uint32_t firstRow, start, firstPosition, lastPosition;
  int group;

  __device__ WarpRows(char* shared, uint32_t blockRow, uint32_t startPosition, int rowsPerPosition) : start(startPosition), group(rowsPerPosition) {
    const int first = threadIdx.x / 32 * 16 * kBands;
    queries = shared + first * TileLayout<kHeadDim>::kRowBytes;
    firstRow = blockRow + first;
    firstPosition = start + firstRow / group, lastPosition = start + (firstRow + 16 * kBands - 1) / group;
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int j = 0; j < 2; j++) max[b][j] = -INFINITY, sum[b][j] = 0;
#pragma unroll
      for (int n = 0; n < 2 * kSteps; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) out[b][n][i] = 0;
      }
    }
  }

  __device__ void readQuery(int band, int k, uint32_t (&a)[4]) const {
    const int lane = threadIdx.x % 32;
    ldmatrixX4<false>(a, FragmentRow<kHeadDim>(queries, band * 16 + lane % 16, lane / 16).at(k));
  }
  __device__ void keepQuery() {
    if constexpr (kKeep) {
#pragma unroll
      for (int b = 0; b < kBands; b++) {
#pragma unroll
        for (int k = 0; k < kSteps; k++) readQuery(b, k, query[b][k]);
      }
    }
  }

  // score = Q K^T of a tile.
  __device__ void multiplyKeys(const char* keys, float (&score)[kBands][8][4]) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int n = 0; n < 8; n++) score[b][n][0] = score[b][n][1] = score[b][n][2] = score[b][n][3] = 0;
    }
#pragma unroll
    for (int k = 0; k < kSteps; k++) {
      uint32_t a[kBands][4];
#pragma unroll
      for (int b = 0; b < kBands; b++) {
        if constexpr (kKeep) {
#pragma unroll
          for (int i = 0; i < 4; i++) a[b][i] = query[b][k][i];
        } else {
          readQuery(b, k, a[b]);
        }
      }
#pragma unroll
      for (int n = 0; n < 4; n++) {
        uint32_t pair[4];
        ldmatrixX4<false>(pair, FragmentRow<kHeadDim>(keys, n * 16 + lane % 8 + lane / 16 * 8, lane / 8 % 2).at(k));
        const uint32_t low[2] = {pair[0], pair[1]}, high[2] = {pair[2], pair[3]};
#pragma unroll
        for (int b = 0; b < kBands; b++) {
          mma16816<T>(score[b][2 * n], a[b], low);
          mma16816<T>(score[b][2 * n + 1], a[b], high);
        }
      }
    }
  }

  // Scores become -infinity where a row does not see the position.
  __device__ void mask(float (&score)[kBands][8][4], uint32_t tileStart, int window) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const uint32_t position = start + (firstRow + b * 16 + lane / 4 + j * 8) / group;
#pragma unroll
        for (int n = 0; n < 8; n++) {
#pragma unroll
          for (int i = 2 * j; i < 2 * j + 2; i++) {
            const uint32_t p = tileStart + n * 8 + lane % 4 * 2 + i % 2;
            if (p > position || (window > 0 && p + window <= position)) score[b][n][i] = -INFINITY;
          }
        }
      }
    }
  }

  // Scores become weights relative to the new maxima; outputs and sums so far are brought to them.
  __device__ void softmax(float (&score)[kBands][8][4], uint32_t tileStart, int window, const ScoreScale& scale) {
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int n = 0; n < 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) score[b][n][i] = scale(score[b][n][i]);
      }
    }
    if (tileStart + kTileTokens > firstPosition + 1 || (window > 0 && tileStart + window <= lastPosition)) mask(score, tileStart, window);
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        float top = max[b][j];
#pragma unroll
        for (int n = 0; n < 8; n++) top = fmaxf(top, fmaxf(score[b][n][2 * j], score[b][n][2 * j + 1]));
        for (int by = 1; by < 4; by *= 2) top = fmaxf(top, __shfl_xor_sync(kFullMask, top, by));
        const float base = finiteMax(top), correction = exp2Approximate(max[b][j] - base);
        max[b][j] = top;
        float added = 0;
#pragma unroll
        for (int n = 0; n < 8; n++) {
#pragma unroll
          for (int i = 2 * j; i < 2 * j + 2; i++) {
            score[b][n][i] = exp2Approximate(score[b][n][i] - base);
            added += score[b][n][i];
          }
        }
        sum[b][j] = __fmaf_rn(sum[b][j], correction, added);
#pragma unroll
        for (int n = 0; n < 2 * kSteps; n++) out[b][n][2 * j] *= correction, out[b][n][2 * j + 1] *= correction;
      }
    }
  }

  // out += P V of a tile.
  __device__ void multiplyValues(const char* values, const float (&weight)[kBands][8][4]) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < 4; k++) {
      uint32_t a[kBands][4];
#pragma unroll
      for (int b = 0; b < kBands; b++) {
        a[b][0] = packPair<T>(weight[b][2 * k][0], weight[b][2 * k][1]), a[b][1] = packPair<T>(weight[b][2 * k][2], weight[b][2 * k][3]);
        a[b][2] = packPair<T>(weight[b][2 * k + 1][0], weight[b][2 * k + 1][1]), a[b][3] = packPair<T>(weight[b][2 * k + 1][2], weight[b][2 * k + 1][3]);
      }
      const FragmentRow<kHeadDim> value(values, k * 16 + lane % 16, lane / 16);
#pragma unroll
      for (int n = 0; n < kSteps; n++) {
        uint32_t pair[4];
        ldmatrixX4<true>(pair, value.at(n));
        const uint32_t low[2] = {pair[0], pair[1]}, high[2] = {pair[2], pair[3]};
#pragma unroll
        for (int b = 0; b < kBands; b++) {
          mma16816<T>(out[b][2 * n], a[b], low);
          mma16816<T>(out[b][2 * n + 1], a[b], high);
        }
      }
    }
  }

  // Outputs to the warp's own rows in shared memory, in place of its queries.
  __device__ void stage() {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        for (int by = 1; by < 4; by *= 2) sum[b][j] += __shfl_xor_sync(kFullMask, sum[b][j], by);
        const float scale = 1.0f / sum[b][j];
        const int row = b * 16 + lane / 4 + j * 8;
#pragma unroll
        for (int n = 0; n < 2 * kSteps; n++) {
          auto* to = reinterpret_cast<uint32_t*>(queries + TileLayout<kHeadDim>::offset(row, n)) + lane % 4;
          *to = packPair<T>(out[b][n][2 * j] * scale, out[b][n][2 * j + 1] * scale);
        }
      }
    }
  }
};

template <class T, int kHeadDim, int kBands>
__global__ void __launch_bounds__(kAttentionThreads) prefill(const T* qkv, const T* kCache, const T* vCache, T* out, Problem p) {
  using S = Shape<T, kHeadDim, kBands>;
  using Layout = TileLayout<kHeadDim>;
  DYN_SHARED(char, shared);
  waitForPrevious();
  const QueryTile q = findTile<S::kRows>(p);
  if (!q.exists) return;
  const int kvHead = blockIdx.y;
  const uint32_t packedRows = q.queryLen * p.group;
  // The place of a packed row among rows of `width` elements.
  auto element = [&](uint32_t row, int width) { return static_cast<int64_t>(q.queryStart + row / p.group) * width + (kvHead * p.group + row % p.group) * kHeadDim; };
  if (q.contextLen == 0) {
    for (int i = threadIdx.x; i < S::kRows * Layout::kUnits; i += kAttentionThreads) {
      const uint32_t row = q.firstRow + i / Layout::kUnits;
      if (row < packedRows) GPU_STORE(reinterpret_cast<uint4*>(out + element(row, p.heads * kHeadDim)) + i % Layout::kUnits, (uint4{0, 0, 0, 0}));
    }
    return;
  }
  char *queries = shared, *keys = queries + S::kQueryBytes, *values = keys + Layout::kTileBytes;
  for (int i = threadIdx.x; i < S::kRows * Layout::kUnits; i += kAttentionThreads) {
    const uint32_t row = q.firstRow + i / Layout::kUnits;
    const bool valid = row < packedRows;
    cpAsync16(queries + Layout::offset(i / Layout::kUnits, i % Layout::kUnits), valid ? qkv + element(row, p.width) + i % Layout::kUnits * 8 : qkv, valid ? 16 : 0);
  }
  const uint32_t start = q.contextLen - q.queryLen, rowsEnd = q.firstRow + S::kRows < packedRows ? q.firstRow + S::kRows : packedRows;
  const uint32_t firstQuery = start + q.firstRow / p.group, end = start + (rowsEnd - 1) / p.group + 1;
  const uint32_t begin = p.window > 0 && firstQuery + 1 > static_cast<uint32_t>(p.window) ? firstQuery + 1 - p.window : 0;
  const Pages pages{p.blockTables + static_cast<int64_t>(q.tableRow) * p.maxBlocks, p.blockShift, p.kvHeads, kvHead};
  uint32_t tileStart = begin / kTileTokens * kTileTokens;
  copyTile<kHeadDim, kLookups>(keys, kCache, pages, tileStart, begin, end);
  cpAsyncCommit();

  WarpRows<T, kHeadDim, kBands> rows(queries, q.firstRow, start, p.group);
  for (bool first = true; tileStart < end; tileStart += kTileTokens, first = false) {
    cpAsyncWait<0>();
    __syncthreads();  // K is there, and all have done with V
    copyTile<kHeadDim, kLookups>(values, vCache, pages, tileStart, begin, end);
    cpAsyncCommit();
    if (first) rows.keepQuery();
    // Rows that see nothing of the tile would leave it as they came.
    const bool visible = rows.firstPosition < end && tileStart <= rows.lastPosition && (p.window == 0 || tileStart + kTileTokens + p.window > rows.firstPosition + 1);
    float score[kBands][8][4];
    if (visible) rows.multiplyKeys(keys, score);
    cpAsyncWait<0>();
    __syncthreads();  // V is there, and all have done with K
    if (tileStart + kTileTokens < end) {
      copyTile<kHeadDim, kLookups>(keys, kCache, pages, tileStart + kTileTokens, begin, end);
    } else {
      launchDependents();
    }
    cpAsyncCommit();
    if (!visible) continue;
    rows.softmax(score, tileStart, p.window, p.scale);
    rows.multiplyValues(values, score);
  }
  rows.stage();
  __syncwarp();
  constexpr int kWarpRows = 16 * kBands;
  for (int i = threadIdx.x % 32; i < kWarpRows * Layout::kUnits; i += 32) {
    const int row = i / Layout::kUnits, unit = i % Layout::kUnits;
    const uint32_t packed = q.firstRow + threadIdx.x / 32 * kWarpRows + row;
    if (packed >= packedRows) continue;
    GPU_STORE(reinterpret_cast<uint4*>(out + element(packed, p.heads * kHeadDim)) + unit, *reinterpret_cast<const uint4*>(rows.queries + Layout::offset(row, unit)));
  }
}

template <class T, int kHeadDim, int kBands>
cudaError_t launch(const PagedAttention& a, const Step& s) {
  using S = Shape<T, kHeadDim, kBands>;
  const int group = a.shape.heads / a.shape.kvHeads;
  const int64_t rows = static_cast<int64_t>(a.out.rows - s.sizes.decodeSequences) * group;
  // Every sequence, and the padding, may end within a tile.
  const auto tiles = static_cast<unsigned>(rows / S::kRows + s.sizes.sequences - s.sizes.decodeSequences + 1);
  const Problem problem{a.sequences.as<uint32_t>(), a.blockTables.as<uint32_t>(), s.sizes.sequences, s.sizes.decodeSequences, a.out.rows, static_cast<int>(a.blockTables.columns), blockShift(a.shape),
                        static_cast<int>(a.qkv.columns), a.shape.heads, a.shape.kvHeads, group, a.window, scoreScale(a)};
  const GpuLaunch l{"attentionPrefill", {tiles, static_cast<unsigned>(a.shape.kvHeads)}, {kAttentionThreads}, S::kSharedBytes, s.stream};
  return gpuLaunch(l, prefill<T, kHeadDim, kBands>, a.qkv.as<T>(), a.kCache.as<T>(), a.vCache.as<T>(), a.out.as<T>(), problem);
}

}  // namespace

bool prefillTakes(const PagedAttention& a) { return sixteenBit(a) && regular(a.shape) && fastHeadDim(a.shape.headDim); }

cudaError_t prefillLaunch(const PagedAttention& a, const Step& s) {
  const int group = a.shape.heads / a.shape.kvHeads;
  return withHeadDim(a.shape.headDim, [&](auto dim) {
    constexpr int kHeadDim = decltype(dim)::value;
    auto withType = [&](auto* element) {
      using T = Element<decltype(element)>;
      // 128 rows where queries fill them and the outputs fit the registers.
      if constexpr (kHeadDim <= 128) {
        if (static_cast<int64_t>(s.sizes.maxQueryTokens) * group > 64) return launch<T, kHeadDim, 2>(a, s);
      }
      return launch<T, kHeadDim, 1>(a, s);
    };
    return a.qkv.dtype == DType::f16 ? withType(static_cast<__half*>(nullptr)) : withType(static_cast<__nv_bfloat16*>(nullptr));
  });
}

}  // namespace quire
