// pagedAttention of decode rows on scalar units, for f32 activations with a cache of any dtype; pages of a power of two.
// The block's part of the flat line, chunks and folding are those of decode_work.h. Each warp has 16 of a tile's 64 positions;
// 8 lanes (4 for rows of 64 bytes) share a position and read 16 bytes each, so that a request covers whole rows. Each group of
// lanes has its own online softmax over the positions that fall to it; the groups' results meet when a chunk ends. K and V of
// a step are requested together, and no shared memory is between: many warps keep the requests in flight.
#include <cstring>

#include "decode_fold.h"
#include "variants.h"

namespace quire {
namespace {

struct Problem {
  DecodeWork work;
  int width, heads, kvHeads, group;
  ScoreScale scale;
};

template <class C, int kHeadDim>
struct Lanes {
  static constexpr int kPack = Pack<C>::kSize, kUnits = kHeadDim / kPack;
  static constexpr int kPerRow = kUnits <= 2 ? 2 : kUnits <= 4 ? 4 : 8, kGroups = 32 / kPerRow;
  // 16-byte units of a lane, the last of which some lanes may lack.
  static constexpr int kOwn = (kUnits + kPerRow - 1) / kPerRow;
  // Positions of a lane in a tile, and how many of them are requested at once: 4 units each of K and V where rows are not longer.
  static constexpr int kPositions = kSliceTokens / kGroups;
  static constexpr int kAtOnce = kOwn < 4 ? (kPositions < 4 / kOwn ? kPositions : 4 / kOwn) : 1;
  // Blocks of an SM whose threads then have the registers that they need.
  static constexpr int kBlocksPerSm = kOwn * kPack <= 16 ? 3 : 2;
  using Parts = PartResults<kHeadDim, 1, kAttentionWarps * kGroups>;
};

template <class C, int kHeadDim>
struct LaneState {
  using L = Lanes<C, kHeadDim>;
  using Packs = Pack<C>[L::kAtOnce][L::kOwn];
  // Of keys and of values, where they are codes.
  using Scales = float[2][L::kAtOnce];
  float query[L::kOwn][L::kPack], out[L::kOwn][L::kPack], max, sum;

  __device__ static int sub() { return threadIdx.x % L::kPerRow; }
  __device__ static bool owns(int unit) { return sub() + unit * L::kPerRow < L::kUnits; }
  __device__ static int dim(int unit) { return (sub() + unit * L::kPerRow) * L::kPack; }

  __device__ void clear() {
    max = -INFINITY, sum = 0;
#pragma unroll
    for (int u = 0; u < L::kOwn; u++) {
#pragma unroll
      for (int e = 0; e < L::kPack; e++) out[u][e] = 0;
    }
  }

  __device__ void loadQuery(const float* from) {
#pragma unroll
    for (int u = 0; u < L::kOwn; u++) {
#pragma unroll
      for (int e = 0; e < L::kPack; e++) query[u][e] = owns(u) ? from[dim(u) + e] : 0.0f;
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

  // Takes the warp's slice of a tile, the first position of which is `position`.
  __device__ void attend(const KvCache<C>& kCache, const KvCache<C>& vCache, const Pages& pages, uint32_t position, uint32_t begin, uint32_t end, const ScoreScale& scale) {
    if (position >= end || position + kSliceTokens <= begin) return;
    const int group = threadIdx.x % 32 / L::kPerRow;
#pragma unroll
    for (int step = 0; step < L::kPositions; step += L::kAtOnce) {
      Packs keys, values;
      Scales scales;
      bool valid[L::kAtOnce];
#pragma unroll
      for (int i = 0; i < L::kAtOnce; i++) {
        const uint32_t p = position + (step + i) * L::kGroups + group;
        valid[i] = p >= begin && p < end;
        const int64_t row = valid[i] ? pages.row(p) : 0, element = row * kHeadDim;
#pragma unroll
        for (int u = 0; u < L::kOwn; u++) keys[i][u] = load(kCache.data + element, u, valid[i]);
#pragma unroll
        for (int u = 0; u < L::kOwn; u++) values[i][u] = load(vCache.data + element, u, valid[i]);
        if constexpr (kHoldsCodes<C>) {
          scales[0][i] = valid[i] ? GPU_LOAD(kCache.scales + row) : 0.0f;
          scales[1][i] = valid[i] ? GPU_LOAD(vCache.scales + row) : 0.0f;
        }
      }
      accumulate(keys, values, scales, valid, scale);
    }
  }

  __device__ __forceinline__ void accumulate(const Packs& keys, const Packs& values, const Scales& scales, const bool (&valid)[L::kAtOnce], const ScoreScale& scale) {
    float score[L::kAtOnce], newMax = max;
#pragma unroll
    for (int i = 0; i < L::kAtOnce; i++) {
      float dot = 0;
#pragma unroll
      for (int u = 0; u < L::kOwn; u++) {
#pragma unroll
        for (int e = 0; e < L::kPack; e++) dot = __fmaf_rn(query[u][e], toFloat(keys[i][u].values[e]), dot);
      }
      for (int by = 1; by < L::kPerRow; by *= 2) dot += __shfl_xor_sync(kFullMask, dot, by);
      if constexpr (kHoldsCodes<C>) dot *= scales[0][i];
      score[i] = valid[i] ? scale(dot) : -INFINITY;
      newMax = fmaxf(newMax, score[i]);
    }
    const float base = finiteMax(newMax), correction = exp2Approximate(max - base);
    max = newMax;
    sum *= correction;
#pragma unroll
    for (int i = 0; i < L::kAtOnce; i++) {
      score[i] = exp2Approximate(score[i] - base);
      sum += score[i];
      if constexpr (kHoldsCodes<C>) score[i] *= scales[1][i];
    }
#pragma unroll
    for (int u = 0; u < L::kOwn; u++) {
#pragma unroll
      for (int e = 0; e < L::kPack; e++) {
        float value = out[u][e] * correction;
#pragma unroll
        for (int i = 0; i < L::kAtOnce; i++) value = __fmaf_rn(score[i], toFloat(values[i][u].values[e]), value);
        out[u][e] = value;
      }
    }
  }

  template <class Parts>
  __device__ void handOver(const Parts& parts) const {
    const int part = threadIdx.x / L::kPerRow;
    if (sub() == 0) parts.max(part, 0) = max, parts.sum(part, 0) = sum;
#pragma unroll
    for (int u = 0; u < L::kOwn; u++) {
      if (!owns(u)) continue;
#pragma unroll
      for (int e = 0; e < L::kPack; e++) parts.out(part, 0)[dim(u) + e] = out[u][e];
    }
  }
};

template <class C, int kHeadDim>
__global__ void __launch_bounds__(kAttentionThreads, Lanes<C, kHeadDim>::kBlocksPerSm) decodeSimt(const float* qkv, KvCache<C> kCache, KvCache<C> vCache, float* out, Problem p) {
  DYN_SHARED(float, shared);
  SHARED(bool, flag, 1);
  waitForPrevious();
  zeroSpentRows(p.work, out, p.heads * kHeadDim);
  const BlockPart part = findPart(p.work);
  launchDependents();
  if (part.empty()) return;
  const typename Lanes<C, kHeadDim>::Parts parts{shared};
  ChunkFold<float, kHeadDim, 1> fold(p.work, part);
  LaneState<C, kHeadDim> state;
  Cursor at = part.cursor;
  for (bool first = true, last = false; !last; first = false) {
    const uint32_t count = at.tilesOfChunk();
    last = at.place + count >= part.end;
    if (first || at.tile == 0) state.loadQuery(qkv + static_cast<int64_t>(at.row) * p.width + at.head * kHeadDim);
    state.clear();
    const Pages pages = at.pages(p.work, p.kvHeads, at.head / p.group);
    uint32_t position = at.firstPosition() + threadIdx.x / 32 * kSliceTokens;
    for (uint32_t i = 0; i < count; i++, position += kTileTokens) state.attend(kCache, vCache, pages, position, at.tiles.begin, at.tiles.end, p.scale);
    __syncthreads();  // all have merged the chunk in front
    state.handOver(parts);
    __syncthreads();
    fold.take(at, parts.merge(), last, out + (static_cast<int64_t>(at.row) * p.heads + at.head) * kHeadDim, 1, flag);
    if (!last) at.advance(p.work, count);
  }
}

// Calls f(C*, headDim) with the template arguments of an operation.
template <class F>
cudaError_t withVariant(const PagedAttention& a, F f) {
  return withHeadDim(a.shape.headDim, [&](auto dim) { return withCacheDType(a.kCache.dtype, [&](auto* cache) { return f(cache, dim); }); });
}

template <class L>
int gridOf(const PagedAttention& a, int rows, int smCount) {
  return decodeGrid(smCount, L::kBlocksPerSm, static_cast<int64_t>(rows) * a.shape.heads * slotsPerBlock(a));
}

}  // namespace

bool decodeSimtTakes(const PagedAttention& a) { return a.qkv.dtype == DType::f32 && regular(a.shape) && fastHeadDim(a.shape.headDim); }

size_t decodeSimtScratch(const PagedAttention& a, int maxRows, int smCount) {
  size_t bytes = 0;
  withVariant(a, [&](auto* cache, auto dim) {
    using L = Lanes<Element<decltype(cache)>, decltype(dim)::value>;
    bytes = static_cast<size_t>(gridOf<L>(a, maxRows, smCount)) * slotsPerBlock(a) * (dim + 2) * sizeof(float);
    return cudaSuccess;
  });
  return bytes;
}

cudaError_t decodeSimtLaunch(const PagedAttention& a, const Step& s) {
  return withVariant(a, [&](auto* cache, auto dim) {
    using C = Element<decltype(cache)>;
    constexpr int kHeadDim = decltype(dim)::value;
    using L = Lanes<C, kHeadDim>;
    const Problem problem{decodeWork(a, s, a.shape.heads), static_cast<int>(a.qkv.columns), a.shape.heads, a.shape.kvHeads, a.shape.heads / a.shape.kvHeads, scoreScale(a)};
    const GpuLaunch l{"attentionDecodeSimt", {static_cast<unsigned>(gridOf<L>(a, s.sizes.decodeSequences, s.smCount))}, {kAttentionThreads}, L::Parts::kBytes, s.stream};
    return gpuLaunch(l, decodeSimt<C, kHeadDim>, a.qkv.as<float>(), kvCache<C>(a.kCache, a.kScales), kvCache<C>(a.vCache, a.vScales), a.out.as<float>(), problem);
  });
}

}  // namespace quire
