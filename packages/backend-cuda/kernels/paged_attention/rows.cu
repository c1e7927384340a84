// pagedAttention, plain form: one warp per query token and head, over 32 positions at a time with an online softmax: scores by
// lane, then values by dimension. For any dtypes, any head dimension up to 256 and mixed batches: what the fast forms do not
// take.
#include "../lib/elements.h"
#include "../lib/kv_codes.h"
#include "../lib/paged.h"
#include "../lib/reduce.h"
#include "../lib/row_state.h"
#include "variants.h"

namespace quire {
namespace {

constexpr int kMaxHeadDim = 256;
constexpr int kWarps = 4;

struct Pointers {
  const uint32_t *sequences, *blockTables;
};

template <class T, class C>
__global__ void attentionRows(const T* qkv, KvCache<C> kCache, KvCache<C> vCache, Pointers p, T* out, int firstToken, int numSequences, int width, int maxBlocks, float scale, int window, float softCap, AttentionShape shape) {
  DYN_SHARED(float, shared);
  waitForPrevious();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int t = firstToken + blockIdx.x, head = blockIdx.y * kWarps + warp;
  if (head >= shape.heads) return;
  float* query = shared + warp * 2 * kMaxHeadDim;
  float* result = query + kMaxHeadDim;
  const int d = shape.headDim;
  // The sequence of this token: records are in the order of their queries.
  int i = -1;
  uint32_t row = 0, visible = 0;
  for (int j = lane; j < numSequences; j += 32) {
    const uint32_t* q = p.sequences + j * SEQUENCE_WORDS;
    const uint32_t start = q[Sequence::queryStart];
    if (static_cast<uint32_t>(t) >= start && static_cast<uint32_t>(t) < start + q[Sequence::queryLen] && q[Sequence::contextLen] > 0) i = j;
  }
  for (int by = 16; by > 0; by /= 2) {
    const int other = __shfl_xor_sync(kFullMask, i, by);
    i = other > i ? other : i;
  }
  T* to = out + (static_cast<int64_t>(t) * shape.heads + head) * d;
  if (i < 0) {
    for (int c = lane; c < d; c += 32) to[c] = fromFloat<T>(0.0f);
    return;
  }
  row = p.sequences[i * SEQUENCE_WORDS + Sequence::row];
  visible = p.sequences[i * SEQUENCE_WORDS + Sequence::firstPosition] + t - p.sequences[i * SEQUENCE_WORDS + Sequence::queryStart] + 1;
  const uint32_t first = window > 0 && visible > static_cast<uint32_t>(window) ? visible - window : 0;
  const uint32_t* table = p.blockTables + static_cast<int64_t>(row) * maxBlocks;
  const int kvHead = head * shape.kvHeads / shape.heads;
  for (int c = lane; c < d; c += 32) {
    query[c] = toFloat(qkv[static_cast<int64_t>(t) * width + head * d + c]) * scale;
    result[c] = 0;
  }
  __syncwarp();
  float max = -INFINITY, sum = 0;
  // 32 positions at a time: scores by lane, then values by head dimension.
  for (uint32_t base = first; base < visible; base += 32) {
    const uint32_t position = base + lane;
    float score = -INFINITY;
    [[maybe_unused]] float valueScale = 0;
    int64_t at = 0;
    if (position < visible) {
      at = cacheIndex(table[position / shape.blockSize] * shape.blockSize + position % shape.blockSize, kvHead, shape);
      score = 0;
      for (int c = 0; c < d; c++) score += query[c] * toFloat(kCache.data[at + c]);
      if constexpr (kHoldsCodes<C>) score *= kCache.scales[at / d], valueScale = vCache.scales[at / d];
      if (softCap > 0) score = softCap * tanhf(score / softCap);
    }
    const float newMax = fmaxf(max, warpMax(score));
    const float correction = expf(max - newMax), weight = position < visible ? expf(score - newMax) : 0.0f;
    sum = sum * correction + warpSum(weight);
    max = newMax;
    float valueWeight = weight;
    if constexpr (kHoldsCodes<C>) valueWeight *= valueScale;
    const int count = visible - base < 32 ? static_cast<int>(visible - base) : 32;
    for (int c = lane; c < d; c += 32) result[c] *= correction;
    for (int j = 0; j < count; j++) {
      const float w = __shfl_sync(kFullMask, valueWeight, j);
      const int64_t from = __shfl_sync(kFullMask, at, j);
      for (int c = lane; c < d; c += 32) result[c] += w * toFloat(vCache.data[from + c]);
    }
  }
  for (int c = lane; c < d; c += 32) to[c] = fromFloat<T>(result[c] / sum);
}

}  // namespace

cudaError_t attentionRowsLaunch(const PagedAttention& a, const Step& s, int firstToken) {
  return withDType(a.qkv.dtype, [&](auto* q) {
    return withCacheDType(a.kCache.dtype, [&](auto* c) {
      using T = Element<decltype(q)>;
      using C = Element<decltype(c)>;
      const GpuLaunch l{"attentionRows", {static_cast<unsigned>(a.out.rows - firstToken), ceilDiv(a.shape.heads, kWarps)}, {32 * kWarps}, kWarps * 2 * kMaxHeadDim * sizeof(float), s.stream};
      return gpuLaunch(l, attentionRows<T, C>, a.qkv.as<T>(), kvCache<C>(a.kCache, a.kScales), kvCache<C>(a.vCache, a.vScales), Pointers{a.sequences.as<uint32_t>(), a.blockTables.as<uint32_t>()}, a.out.as<T>(), firstToken,
                       s.sizes.sequences, static_cast<int>(a.qkv.columns), static_cast<int>(a.blockTables.columns), a.scale, a.window, a.softCap, a.shape);
    });
  });
}

}  // namespace quire
