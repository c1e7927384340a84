// pagedAttention of decode rows on scalar units, for groups of 1 and 2 heads, where tensor cores would compute mostly nothing,
// and for f32. The block's part of the flat line, chunks and folding are those of decode_work.h. Each warp has 16 of a tile's
// 64 positions; 8 lanes (4 for rows of 64 bytes) share a position and read 16 bytes each, so that a request covers whole rows.
// Each group of lanes has its own online softmax over the positions that fall to it; the groups' results meet when a chunk
// ends. K and V of a step are requested together, and no shared memory is between: many warps keep the requests in flight.
// For any activations whose cache is f32 or of their own dtype, and f32 ones with any cache; pages of a power of two.
#include <cstring>

#include "decode_fold.h"
#include "variants.h"

namespace quire {
namespace {

struct Problem {
  DecodeWork work;
  int width, heads, kvHeads, group, passes;
  ScoreScale scale;
};

template <class C, int kHeadDim>
struct Lanes {
  static constexpr int kPack = Pack<C>::kSize, kUnits = kHeadDim / kPack;
  static constexpr int kPerRow = kUnits < 8 ? kUnits : 8, kGroups = 32 / kPerRow;
  // 16-byte units of a lane, the last of which some lanes may lack.
  static constexpr int kOwn = (kUnits + kPerRow - 1) / kPerRow;
  // Positions of a lane in a tile, and how many of them are requested at once: 4 units each of K and V where rows are not longer.
  static constexpr int kPositions = 16 / kGroups;
  static constexpr int kAtOnce = kOwn < 4 ? (kPositions < 4 / kOwn ? kPositions : 4 / kOwn) : 1;
  // Blocks of an SM whose threads then have the registers that work heads of so many query heads need.
  static constexpr int blocksPerSm(int heads) {
    if (kOwn * kPack <= 16) return heads == 1 ? 4 : kOwn == 1 ? 3 : 2;
    return heads == 1 ? 3 : 2;
  }
};

template <class T, class C, int kHeadDim, int kHeads>
struct LaneState {
  using L = Lanes<C, kHeadDim>;
  float query[kHeads][L::kOwn][L::kPack], out[kHeads][L::kOwn][L::kPack];
  float max[kHeads], sum[kHeads];

  __device__ static int sub() { return threadIdx.x % L::kPerRow; }
  __device__ static bool owns(int unit) { return sub() + unit * L::kPerRow < L::kUnits; }
  __device__ static int dim(int unit) { return (sub() + unit * L::kPerRow) * L::kPack; }

  __device__ void clear() {
#pragma unroll
    for (int h = 0; h < kHeads; h++) {
      max[h] = -INFINITY, sum[h] = 0;
#pragma unroll
      for (int u = 0; u < L::kOwn; u++) {
#pragma unroll
        for (int e = 0; e < L::kPack; e++) out[h][u][e] = 0;
      }
    }
  }

  // `from` is the first of `heads` query heads.
  __device__ void loadQuery(const T* from, int heads) {
#pragma unroll
    for (int h = 0; h < kHeads; h++) {
#pragma unroll
      for (int u = 0; u < L::kOwn; u++) {
#pragma unroll
        for (int e = 0; e < L::kPack; e++) query[h][u][e] = h < heads && owns(u) ? toFloat(from[h * kHeadDim + dim(u) + e]) : 0.0f;
      }
    }
  }

  __device__ static Pack<C> load(const C* row, int unit, bool valid) {
    Pack<C> pack{};
    if (valid && owns(unit)) {
      const uint4 bits = GPU_LOAD(reinterpret_cast<const uint4*>(row + dim(unit)));
      memcpy(&pack, &bits, sizeof pack);
    }
    return pack;
  }

  // Takes the warp's 16 positions of a tile, the first of which is `position`.
  __device__ void attend(const C* kCache, const C* vCache, const Pages& pages, uint32_t position, uint32_t begin, uint32_t end, const ScoreScale& scale) {
    if (position >= end || position + 16 <= begin) return;
    const int group = threadIdx.x % 32 / L::kPerRow;
#pragma unroll
    for (int step = 0; step < L::kPositions; step += L::kAtOnce) {
      Pack<C> keys[L::kAtOnce][L::kOwn], values[L::kAtOnce][L::kOwn];
      bool valid[L::kAtOnce];
#pragma unroll
      for (int i = 0; i < L::kAtOnce; i++) {
        const uint32_t p = position + (step + i) * L::kGroups + group;
        valid[i] = p >= begin && p < end;
        const int64_t row = valid[i] ? pages.row(p) * kHeadDim : 0;
#pragma unroll
        for (int u = 0; u < L::kOwn; u++) keys[i][u] = load(kCache + row, u, valid[i]);
#pragma unroll
        for (int u = 0; u < L::kOwn; u++) values[i][u] = load(vCache + row, u, valid[i]);
      }
#pragma unroll
      for (int h = 0; h < kHeads; h++) accumulate(h, keys, values, valid, scale);
    }
  }

  __device__ __forceinline__ void accumulate(int h, const Pack<C> (&keys)[L::kAtOnce][L::kOwn], const Pack<C> (&values)[L::kAtOnce][L::kOwn], const bool (&valid)[L::kAtOnce], const ScoreScale& scale) {
    float score[L::kAtOnce], newMax = max[h];
#pragma unroll
    for (int i = 0; i < L::kAtOnce; i++) {
      float dot = 0;
#pragma unroll
      for (int u = 0; u < L::kOwn; u++) {
#pragma unroll
        for (int e = 0; e < L::kPack; e++) dot = __fmaf_rn(query[h][u][e], toFloat(keys[i][u].values[e]), dot);
      }
      for (int by = 1; by < L::kPerRow; by *= 2) dot += __shfl_xor_sync(kFullMask, dot, by);
      score[i] = valid[i] ? scale(dot) : -INFINITY;
      newMax = fmaxf(newMax, score[i]);
    }
    const float base = finiteMax(newMax), correction = exp2Approximate(max[h] - base);
    max[h] = newMax;
    sum[h] *= correction;
#pragma unroll
    for (int i = 0; i < L::kAtOnce; i++) {
      score[i] = exp2Approximate(score[i] - base);
      sum[h] += score[i];
    }
#pragma unroll
    for (int u = 0; u < L::kOwn; u++) {
#pragma unroll
      for (int e = 0; e < L::kPack; e++) {
        float value = out[h][u][e] * correction;
#pragma unroll
        for (int i = 0; i < L::kAtOnce; i++) value = __fmaf_rn(score[i], toFloat(values[i][u].values[e]), value);
        out[h][u][e] = value;
      }
    }
  }

  template <class Parts>
  __device__ void handOver(const Parts& parts) const {
    const int part = threadIdx.x / L::kPerRow;
#pragma unroll
    for (int h = 0; h < kHeads; h++) {
      if (sub() == 0) parts.max(part, h) = max[h], parts.sum(part, h) = sum[h];
#pragma unroll
      for (int u = 0; u < L::kOwn; u++) {
        if (!owns(u)) continue;
#pragma unroll
        for (int e = 0; e < L::kPack; e++) parts.out(part, h)[dim(u) + e] = out[h][u][e];
      }
    }
  }
};

template <class C, int kHeadDim, int kHeads>
using LaneParts = PartResults<kHeadDim, kHeads, kAttentionWarps * Lanes<C, kHeadDim>::kGroups>;

template <class T, class C, int kHeadDim, int kHeads>
__global__ void __launch_bounds__(kAttentionThreads, Lanes<C, kHeadDim>::blocksPerSm(kHeads)) decodeSimt(const T* qkv, const C* kCache, const C* vCache, T* out, Problem p) {
  DYN_SHARED(float, shared);
  SHARED(bool, flag, 1);
  waitForPrevious();
  zeroSpentRows(p.work, out, p.heads * kHeadDim);
  const BlockPart part = findPart(p.work);
  if (part.tiles == 0) return;
  const LaneParts<C, kHeadDim, kHeads> parts{shared};
  ChunkFold<T, kHeadDim, kHeads> fold(p.work, part);
  LaneState<T, C, kHeadDim, kHeads> state;
  Cursor at = part.cursor;
  int firstHead = 0, heads = 0;
  for (uint32_t i = 0; i < part.tiles; i++) {
    if (i == 0 || at.startsHead()) {
      const int pass = at.head % p.passes * kHeads;
      firstHead = at.head / p.passes * p.group + pass;
      heads = p.group - pass < kHeads ? p.group - pass : kHeads;
      state.loadQuery(qkv + static_cast<int64_t>(at.row) * p.width + firstHead * kHeadDim, heads);
    }
    if (i == 0 || at.tile % at.tiles.chunkTiles == 0) state.clear();
    state.attend(kCache, vCache, at.pages(p.work, p.kvHeads, at.head / p.passes), at.firstPosition() + threadIdx.x / 32 * 16, at.tiles.begin, at.tiles.end, p.scale);
    if (i + 1 == part.tiles) launchDependents();
    if (at.endsChunk()) {
      state.handOver(parts);
      __syncthreads();
      const auto chunk = parts.merge();
      __syncthreads();  // the next chunk may be handed over
      fold.take(at, chunk, i + 1 == part.tiles, out + (static_cast<int64_t>(at.row) * p.heads + firstHead) * kHeadDim, heads, flag);
    }
    if (i + 1 < part.tiles) at.next(p.work);
  }
}

int groupOf(const PagedAttention& a) { return a.shape.heads / a.shape.kvHeads; }
int slotsPerBlock(const PagedAttention& a) { return maxChunks(a.blockTables.columns * a.shape.blockSize); }
// Calls f(T*, C*, headDim, heads) with the template arguments of an operation; heads: query heads of a work head.
template <class F>
cudaError_t withVariant(const PagedAttention& a, F f) {
  return withHeadDim(a.shape.headDim, [&](auto dim) {
    if (a.qkv.dtype == DType::f32) {
      return withDType(a.kCache.dtype, [&](auto* cache) { return f(static_cast<float*>(nullptr), cache, dim, std::integral_constant<int, 1>{}); });
    }
    auto sixteen = [&](auto* element) {
      return groupOf(a) > 1 ? f(element, element, dim, std::integral_constant<int, 2>{}) : f(element, element, dim, std::integral_constant<int, 1>{});
    };
    return a.qkv.dtype == DType::f16 ? sixteen(static_cast<__half*>(nullptr)) : sixteen(static_cast<__nv_bfloat16*>(nullptr));
  });
}

template <class L>
int gridOf(const PagedAttention& a, int rows, int heads, int smCount) {
  return decodeGrid(smCount, L::blocksPerSm(heads), static_cast<int64_t>(rows) * a.shape.kvHeads * ceilDiv(groupOf(a), heads) * slotsPerBlock(a));
}

}  // namespace

bool decodeSimtTakes(const PagedAttention& a) { return (sixteenBit(a) || a.qkv.dtype == DType::f32) && regular(a.shape) && fastHeadDim(a.shape.headDim); }

size_t decodeSimtScratch(const PagedAttention& a, int maxRows, int smCount) {
  size_t bytes = 0;
  withVariant(a, [&](auto*, auto* cache, auto dim, auto heads) {
    using L = Lanes<Element<decltype(cache)>, decltype(dim)::value>;
    bytes = static_cast<size_t>(gridOf<L>(a, maxRows, heads, smCount)) * slotsPerBlock(a) * heads * (dim + 2) * sizeof(float);
    return cudaSuccess;
  });
  return bytes;
}

cudaError_t decodeSimtLaunch(const PagedAttention& a, const Step& s) {
  return withVariant(a, [&](auto* element, auto* cache, auto dim, auto heads) {
    using T = Element<decltype(element)>;
    using C = Element<decltype(cache)>;
    constexpr int kHeadDim = decltype(dim)::value, kHeads = decltype(heads)::value;
    const int passes = ceilDiv(groupOf(a), kHeads), grid = gridOf<Lanes<C, kHeadDim>>(a, s.sizes.decodeSequences, kHeads, s.smCount);
    const DecodeWork work{a.sequences.as<uint32_t>(), a.blockTables.as<uint32_t>(), s.sizes.decodeSequences, a.shape.kvHeads * passes, a.window, static_cast<int>(a.blockTables.columns),
                          blockShift(a.shape), s.workspace.counters(), s.workspace.scratch<float>(), slotsPerBlock(a)};
    const Problem problem{work, static_cast<int>(a.qkv.columns), a.shape.heads, a.shape.kvHeads, groupOf(a), passes, scoreScale(a)};
    const GpuLaunch l{"attentionDecodeSimt", {static_cast<unsigned>(grid)}, {kAttentionThreads}, LaneParts<C, kHeadDim, kHeads>::kBytes, s.stream};
    return gpuLaunch(l, decodeSimt<T, C, kHeadDim, kHeads>, a.qkv.as<T>(), a.kCache.as<C>(), a.vCache.as<C>(), a.out.as<T>(), problem);
  });
}

}  // namespace quire
