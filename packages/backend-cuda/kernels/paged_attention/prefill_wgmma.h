// pagedAttention of all tokens behind the decode rows on Hopper: what prefill.h does, on warpgroup products. prefill_wgmma.cu compiles it,
// for sm_90a.
//
// A block owns a tile of packed queries, 64 rows to each of its one or two warpgroups, and walks the visible positions in tiles of 128.
// Queries stay in shared memory, as A of Q K^T; scores, weights and outputs in registers; weights, rounded, are A of P V. While P V of
// a tile runs, so does Q K^T of the next one, and the softmax of that follows beside it: maxima and exponentials need no output.
// Keys of a tile and values of the one in front arrive together, a tile ahead, through a ring of two of each.
//
// Tiles start at multiples of 128 of the position, and a masked tile changes nothing bit for bit: a token's result depends on neither
// its chunk nor its batch. It differs in bits from that of prefill.h, whose tiles are of 64.
// For 16-bit activations with a cache of the same dtype, head dimensions of 64 and 128, pages of a power of two.
//
// Correct in the emulator, static budget as kernels/budgets.json tells, speed not measured: addon/prefill-trial.h tries it on the GPU at
// hand before it is used.
// Design: FlashAttention-3 (Shah et al. 2024), its overlap within a warpgroup, with cp.async through the pages.
#pragma once
#include "../lib/wgmma.h"
#include "prefill_rows.h"
#include "query_tiles.h"

namespace quire {
namespace {

constexpr int kWideTokens = 128;

template <int kHeadDim, int kGroups>
struct WideShape {
  static constexpr int kThreads = kGroups * kWarpgroupThreads, kRows = kGroups * kWarpgroupRows;
  // Positions of a tile that a warp copies, each lane looking up one or every second one.
  static constexpr int kWarpTokens = kWideTokens / (kThreads / 32);
  static constexpr int kUnits = kHeadDim / 8;
  static constexpr int kQueryBytes = kRows * kHeadDim * 2, kTileBytes = kWideTokens * kHeadDim * 2;
  static constexpr int kSharedBytes = kPatternBytes + kQueryBytes + 4 * kTileBytes;
};

// Rows of 16-bit elements in blocks of so many rows, as wgmma.h lays them out.
template <int kRows>
struct BlockedLayout {
  __device__ static int offset(int row, int unit) { return (unit / 8 * kRows + row) * kBlockRowBytes + (unit % 8 ^ row % 8) * 16; }
  // Bytes to the k-th 16 elements of rows.
  __device__ static constexpr int depth(int k) { return k / 4 * kRows * kBlockRowBytes + k % 4 * 32; }
};

// The pages of a block's sequence, as its warps bring them into tiles of kWideTokens positions.
template <class T, int kHeadDim, int kGroups>
struct WideFeed {
  using S = WideShape<kHeadDim, kGroups>;
  Pages pages;
  uint32_t begin, end;

  // The cache row of the lane's position of the tile at `tile`, kNoRow outside of [begin, end).
  __device__ uint32_t lookUp(uint32_t tile) const {
    const uint32_t position = tile + threadIdx.x / 32 * S::kWarpTokens + threadIdx.x % S::kWarpTokens;
    return position >= begin && position < end ? static_cast<uint32_t>(pages.row(position)) : kNoRow;
  }
  // By all lanes of a warp, its slice of a tile; positions of kNoRow become zero.
  __device__ void request(char* tile, const T* cache, uint32_t row) const {
    const int firstToken = threadIdx.x / 32 * S::kWarpTokens;
#pragma unroll 4
    for (int i = 0; i < S::kWarpTokens * S::kUnits / 32; i++) {
      const int item = threadIdx.x % 32 + 32 * i, token = item / S::kUnits, unit = item % S::kUnits;
      const uint32_t from = __shfl_sync(kFullMask, row, token);
      cpAsync16(tile + BlockedLayout<kWideTokens>::offset(firstToken + token, unit), from == kNoRow ? cache : cache + static_cast<int64_t>(from) * kHeadDim + unit * 8, from == kNoRow ? 0 : 16);
    }
  }
};

// One lane's part of the rows of its warpgroup: of rows lane / 4 and lane / 4 + 8 of its warp's 16.
template <class T, int kHeadDim, int kGroups>
struct WideRows {
  using S = WideShape<kHeadDim, kGroups>;
  static constexpr int kColumns = kHeadDim / 8, kScores = kWideTokens / 8, kSteps = kWideTokens / 16;
  float out[kColumns][4], score[kScores][4];
  // Weights of the tile in front, as A of P V.
  uint32_t weight[kSteps][4];
  // The sums are the lane's own.
  float max[2], sum[2], correction[2];
  // The packed row at which the warp's begin, the position of row 0, and the positions of the warp's first and last row.
  uint32_t firstRow, start, firstPosition, lastPosition;
  int group;

  __device__ WideRows(uint32_t blockRow, uint32_t startPosition, int rowsPerPosition) : firstRow(blockRow + threadIdx.x / 32 * 16), start(startPosition), group(rowsPerPosition) {
    firstPosition = start + firstRow / group, lastPosition = start + (firstRow + 15) / group;
#pragma unroll
    for (int j = 0; j < 2; j++) max[j] = kNoMax, sum[j] = 0, correction[j] = 1;
#pragma unroll
    for (int n = 0; n < kColumns; n++) out[n][0] = out[n][1] = out[n][2] = out[n][3] = 0;
  }

  // Both are begun and not waited for.
  __device__ __forceinline__ void multiplyKeys(uint64_t queries, uint64_t keys) {
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; k++) wgmmaShared<T>(score, advanced(queries, BlockedLayout<S::kRows>::depth(k)), advanced(keys, BlockedLayout<kWideTokens>::depth(k)), k > 0);
    wgmmaCommit();
  }
  __device__ __forceinline__ void multiplyValues(uint64_t values) {
#pragma unroll
    for (int k = 0; k < kSteps; k++) wgmmaRegisters<T, kHeadDim>(out, weight[k], advanced(values, k * 16 * kBlockRowBytes));
    wgmmaCommit();
  }

  // Scores become -infinity where a row does not see the position.
  __device__ __forceinline__ void mask(uint32_t tileStart, int window) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < 2; j++) {
      const uint32_t position = start + (firstRow + lane / 4 + j * 8) / group;
#pragma unroll
      for (int n = 0; n < kScores; n++) {
#pragma unroll
        for (int i = 2 * j; i < 2 * j + 2; i++) {
          const uint32_t p = tileStart + n * 8 + lane % 4 * 2 + i % 2;
          if (p > position || (window > 0 && p + window <= position)) score[n][i] = -INFINITY;
        }
      }
    }
  }

  // Scores of a tile become weights, relative to maxima that follow them as those of prefill_rows.h do. Sums are brought to the new
  // maxima here, outputs by rescale().
  __device__ __forceinline__ void weigh(uint32_t tileStart, int window, const ScoreScale& scale) {
    float factor = scale.factor;
    if (scale.cap != 0.0f) {
#pragma unroll
      for (int n = 0; n < kScores; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) score[n][i] = scale(score[n][i]);
      }
      factor = 1;
    }
    if (tileStart + kWideTokens > firstPosition + 1 || (window > 0 && tileStart + window <= lastPosition)) mask(tileStart, window);
    // One round, which the compiler cannot know: a wait behind this loop stays behind the exponentials, beside which products run.
    for (unsigned round = 0; round < gridDim.z; round++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        float top = fmaxf(score[0][2 * j], score[0][2 * j + 1]);
#pragma unroll
        for (int n = 1; n < kScores; n++) top = fmaxf(top, fmaxf(score[n][2 * j], score[n][2 * j + 1]));
        for (int by = 1; by < 4; by *= 2) top = fmaxf(top, __shfl_xor_sync(kFullMask, top, by));
        top *= factor;
        const bool exceeds = top > max[j] + kSlack;
        correction[j] = exceeds ? exp2Approximate(max[j] - top) : 1.0f;
        if (exceeds) max[j] = top;
        sum[j] *= correction[j];
#pragma unroll
        for (int n = 0; n < kScores; n++) {
#pragma unroll
          for (int i = 2 * j; i < 2 * j + 2; i++) score[n][i] = exp2Approximate(__fmaf_rn(score[n][i], factor, -max[j])), sum[j] += score[n][i];
        }
      }
    }
  }
  // Where no product is on its way.
  __device__ __forceinline__ void rescale() {
    if (__any_sync(kFullMask, correction[0] != 1.0f || correction[1] != 1.0f)) {
#pragma unroll
      for (int n = 0; n < kColumns; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) out[n][i] *= correction[i / 2];
      }
    }
#pragma unroll
    for (int k = 0; k < kSteps; k++) {
#pragma unroll
      for (int i = 0; i < 4; i++) weight[k][i] = packPair<T>(score[2 * k + i / 2][i % 2 * 2], score[2 * k + i / 2][i % 2 * 2 + 1]);
    }
  }

  // Outputs to the warp's rows in shared memory.
  __device__ void stage(char* warpRows) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < 2; j++) {
      for (int by = 1; by < 4; by *= 2) sum[j] += __shfl_xor_sync(kFullMask, sum[j], by);
      const float scale = 1.0f / sum[j];
      const int row = lane / 4 + j * 8;
#pragma unroll
      for (int n = 0; n < kColumns; n++) reinterpret_cast<uint32_t*>(warpRows + BlockedLayout<S::kRows>::offset(row, n))[lane % 4] = packPair<T>(out[n][2 * j] * scale, out[n][2 * j + 1] * scale);
    }
  }
};

template <class T, int kHeadDim, int kGroups>
__device__ __forceinline__ void prefillWide(const T* qkv, const T* kCache, const T* vCache, T* out, const Problem& p, char* shared) {
  using S = WideShape<kHeadDim, kGroups>;
  const QueryTile q = findTile<S::kRows>(p);
  if (!q.exists) return;
  const int kvHead = blockIdx.x, outWidth = p.heads * kHeadDim;
  const PackedRows<kHeadDim, BlockedLayout<S::kRows>, S::kThreads> packed{q.queryStart, q.queryLen * p.group, p.group, kvHead * p.group};
  if (q.contextLen == 0) return packed.zero(out, outWidth, q.firstRow, S::kRows);

  const uint32_t start = q.contextLen - q.queryLen, rowsEnd = q.firstRow + S::kRows < packed.count ? q.firstRow + S::kRows : packed.count;
  const uint32_t firstQuery = start + q.firstRow / p.group, end = start + (rowsEnd - 1) / p.group + 1;
  const uint32_t begin = p.window > 0 && firstQuery + 1 > static_cast<uint32_t>(p.window) ? firstQuery + 1 - p.window : 0;
  const WideFeed<T, kHeadDim, kGroups> feed{{p.blockTables + static_cast<int64_t>(q.tableRow) * p.maxBlocks, p.blockShift, p.kvHeads, kvHead}, begin, end};
  uint32_t tileStart = begin / kWideTokens * kWideTokens;
  const int tiles = (end - tileStart + kWideTokens - 1) / kWideTokens;
  // Cache rows of this tile, the next one and the one behind that.
  uint32_t row = feed.lookUp(tileStart), next = feed.lookUp(tileStart + kWideTokens), after = feed.lookUp(tileStart + 2 * kWideTokens);

  char *const keys = shared + S::kQueryBytes, *const values = keys + 2 * S::kTileBytes;
  const uint64_t queryOperand = wgmmaOperand(shared + threadIdx.x / kWarpgroupThreads * kWarpgroupRows * kBlockRowBytes);
  const uint64_t keyOperand = wgmmaOperand(keys), valueOperand = wgmmaOperand(values, kWideTokens * kBlockRowBytes);
  packed.request(shared, qkv, p.width, q.firstRow, S::kRows);
  feed.request(keys, kCache, row);
  cpAsyncCommit();
  launchDependents();

  WideRows<T, kHeadDim, kGroups> rows(q.firstRow, start, p.group);
  // What has been requested is there for the products of all warps, and all have done with the tiles that are requested next.
  auto arrive = [] {
    cpAsyncWait<0>();
    fenceProxyAsync();
    __syncthreads();
  };
  arrive();
  wgmmaFence();
  rows.multiplyKeys(queryOperand, keyOperand);
  feed.request(values, vCache, row);
  if (tiles > 1) feed.request(keys + S::kTileBytes, kCache, next);
  cpAsyncCommit();
  wgmmaWait<0>();
  pinRegisters(rows.score);
  rows.weigh(tileStart, p.window, p.scale);
  rows.rescale();
  for (int t = 0; t + 1 < tiles; t++) {
    const int here = t % 2 * S::kTileBytes, there = S::kTileBytes - here;
    tileStart += kWideTokens;
    arrive();
    pinRegisters(rows.score), pinRegisters(rows.out);
    wgmmaFence();
    rows.multiplyKeys(queryOperand, advanced(keyOperand, there));
    rows.multiplyValues(advanced(valueOperand, here));
    feed.request(values + there, vCache, next);
    if (t + 2 < tiles) feed.request(keys + here, kCache, after);
    cpAsyncCommit();
    next = after, after = feed.lookUp(tileStart + 2 * kWideTokens);
    wgmmaWait<1>();
    pinRegisters(rows.score);
    rows.weigh(tileStart, p.window, p.scale);
    wgmmaWait<0>();
    pinRegisters(rows.out);
    rows.rescale();
  }
  arrive();
  pinRegisters(rows.out);
  wgmmaFence();
  rows.multiplyValues(advanced(valueOperand, (tiles - 1) % 2 * S::kTileBytes));
  wgmmaWait<0>();
  pinRegisters(rows.out);
  char* const warpRows = shared + threadIdx.x / 32 * 16 * kBlockRowBytes;
  rows.stage(warpRows);
  __syncwarp();
  packed.store(out, outWidth, warpRows, rows.firstRow, 16);
}

template <class T, int kHeadDim, int kGroups>
__global__ void __launch_bounds__(WideShape<kHeadDim, kGroups>::kThreads, 1) prefillWgmma(const T* qkv, const T* kCache, const T* vCache, T* out, Problem p) {
  DYN_SHARED(char, shared);
  waitForPrevious();
  if constexpr (kHasWgmma) prefillWide<T, kHeadDim, kGroups>(qkv, kCache, vCache, out, p, alignForWgmma(shared));
}

template <class T, int kHeadDim, int kGroups>
cudaError_t launchWide(const PagedAttention& a, const Step& s) {
  using S = WideShape<kHeadDim, kGroups>;
  const GpuLaunch l{"attentionPrefillWgmma", {static_cast<unsigned>(a.shape.kvHeads), static_cast<unsigned>(mostTiles(a, s, S::kRows))}, {S::kThreads}, S::kSharedBytes, s.stream};
  return gpuLaunch(l, prefillWgmma<T, kHeadDim, kGroups>, a.qkv.as<T>(), a.kCache.as<T>(), a.vCache.as<T>(), a.out.as<T>(), problemOf(a, s));
}

}  // namespace
}  // namespace quire
