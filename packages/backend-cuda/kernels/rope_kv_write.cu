// ropeKvWrite: rope, then kvWrite, in one launch: norms queries and keys of qkv where the op has norms, rotates them, in place, and
// scatters these keys and the values into their cache slots.
//
// A warp owns a head of a token, queries, keys and values alike, so that a step of one token still fills a multiprocessor or
// more; a block is eight of them. A lane writes to the cache what it rotated itself, as it stored it, rounded to the dtype of
// qkv: no lane reads what another one wrote. Of a vector that becomes codes the lanes share the largest magnitude.
//
// With norms of all queries and of all keys in front, a block owns a token, as its heads share their sums of squares.
#include "lib/kv_codes.h"
#include "lib/paged.h"
#include "lib/rotary.h"
#include "lib/row_norm.h"
#include "lib/row_state.h"
#include "ops/joint.h"

namespace quire {
namespace {

constexpr int kWarps = 8;

// Calls f(i) for the elements of a head that are this lane's; only what lies behind rotaryDim is in order, and all of a value.
template <class F>
__device__ __forceinline__ void forOwnElements(int lane, bool isValue, int headDim, const Rotary& rotary, F f) {
  for (int pair = lane; !isValue && pair < rotary.rotaryDim / 2; pair += 32) {
    f(rotary.first(pair));
    f(rotary.second(pair));
  }
  for (int i = (isValue ? 0 : rotary.rotaryDim) + lane; i < headDim; i += 32) f(i);
}

// What both kernels write to.
template <class T, class C>
struct RotaryWrite {
  T* qkv;
  const uint32_t* positions;
  const float* table;
  const uint32_t* slotMapping;
  KvCache<C> keys, values;
  AttentionShape shape;
  Rotary rotary;
  NormWeights norms;

  __device__ __forceinline__ int allHeads() const { return shape.heads + 2 * shape.kvHeads; }
  __device__ __forceinline__ bool isValue(int head) const { return head >= shape.heads + shape.kvHeads; }
  __device__ __forceinline__ T* headAt(int token, int head) const { return qkv + (static_cast<int64_t>(token) * allHeads() + head) * shape.headDim; }

  // A head of a token, by a warp.
  __device__ __forceinline__ void write(int token, int head) const {
    const int lane = threadIdx.x % 32;
    const bool isValue = this->isValue(head);
    const uint32_t slot = slotMapping[token];
    T* const from = headAt(token, head);
    if (!isValue) {
      const float* angles = table + static_cast<int64_t>(positions[token]) * rotary.rotaryDim;
      RotaryHead<T>(from, shape.headDim, lane, rotary, norms, head < shape.heads).turn(angles);
    }
    if (head < shape.heads || slot == NONE) return;
    const int64_t at = cacheIndex(slot, (head - shape.heads) % shape.kvHeads, shape);
    C* const to = (isValue ? values.data : keys.data) + at;
    if constexpr (kHoldsCodes<C>) {
      uint32_t largest = 0;
      forOwnElements(lane, isValue, shape.headDim, rotary, [&](int i) { largest = largerMagnitude(largest, toFloat(from[i])); });
      const VectorCodes<C> codes(__reduce_max_sync(kFullMask, largest));
      forOwnElements(lane, isValue, shape.headDim, rotary, [&](int i) { to[i] = codes(toFloat(from[i])); });
      if (lane == 0) (isValue ? values.scales : keys.scales)[at / shape.headDim] = codes.scale;
    } else {
      forOwnElements(lane, isValue, shape.headDim, rotary, [&](int i) { to[i] = fromFloat<C>(toFloat(from[i])); });
    }
  }
};

template <class T, class C>
__global__ void ropeKvWriteKernel(RotaryWrite<T, C> w) {
  launchDependents();
  waitForPrevious();
  const int head = blockIdx.y * kWarps + threadIdx.x / 32;
  if (head < w.allHeads()) w.write(blockIdx.x, head);
}

constexpr int kNormedWarps = 16;

// The norms have the bits of normColumns.
template <class T, class C>
__global__ void __launch_bounds__(32 * kNormedWarps) normedRopeKvWriteKernel(RotaryWrite<T, C> w, RowNorm query, RowNorm key) {
  SHARED(float, sums, kSumsOfRow);
  SHARED(NormStats, stats, 2);
  launchDependents();
  waitForPrevious();
  const int token = blockIdx.x, lane = threadIdx.x % 32, heads = w.shape.heads, headDim = w.shape.headDim;
  auto findScale = [&](const RowNorm& norm, int firstHead, int count, NormStats* to) {
    const auto* from = reinterpret_cast<const Pack<T>*>(w.headAt(token, firstHead));
    auto read = [&](int, int pack) { return GPU_LOAD(from + pack); };
    findStats<kNormedWarps, T>(norm, 1, count * headDim, to, sums, read, read);
  };
  findScale(query, 0, heads, stats);
  findScale(key, heads, w.shape.kvHeads, stats + 1);
  for (int head = threadIdx.x / 32; head < w.allHeads(); head += kNormedWarps) {
    if (!w.isValue(head)) {
      const bool isQuery = head < heads;
      const RowNorm& norm = isQuery ? query : key;
      const float scale = stats[isQuery ? 0 : 1].scale;
      const int first = (isQuery ? head : head - heads) * headDim;
      T* const from = w.headAt(token, head);
      forOwnElements(lane, false, headDim, w.rotary, [&](int i) { from[i] = fromFloat<T>(rmsNormed(toFloat(from[i]), scale, loadElement(norm.weight, norm.dtype, first + i))); });
    }
    w.write(token, head);
  }
}

template <class T, class C>
RotaryWrite<T, C> rotaryWrite(const RopeKvWrite& a) {
  return {a.qkv.as<T>(), a.positions.as<uint32_t>(), a.table.as<float>(), a.slotMapping.as<uint32_t>(), kvCache<C>(a.kCache, a.kScales), kvCache<C>(a.vCache, a.vScales), a.shape, Rotary{a.rotaryDim, a.interleaved}, normWeights(a.norms)};
}

// Calls f with a RotaryWrite.
template <class F>
cudaError_t withWrite(const RopeKvWrite& a, F f) {
  if (a.qkv.rows == 0) return cudaSuccess;
  return withDType(a.qkv.dtype, [&](auto* q) {
    return withCacheDType(a.kCache.dtype, [&](auto* c) { return f(rotaryWrite<Element<decltype(q)>, Element<decltype(c)>>(a), q, c); });
  });
}

RowNorm rowNorm(const NormColumns& a) { return {a.weight.data, nullptr, a.weight.dtype, a.eps, false}; }

// The columns of a norm lie in whole packs of 16 bytes of every row.
bool hasColumnPacks(const NormColumns& a) {
  bool found = false;
  withDType(a.x.dtype, [&](auto* x) {
    using T = Element<decltype(x)>;
    T* const first = a.x.as<T>() + a.column;
    found = hasRowPacks<T>(a.weight.rows, {first, first + a.x.columns, a.weight.data});
    return cudaSuccess;
  });
  return found;
}

}  // namespace

cudaError_t ropeKvWrite(const RopeKvWrite& a, const Step& s) {
  return withWrite(a, [&](const auto& write, auto* q, auto* c) {
    using T = Element<decltype(q)>;
    using C = Element<decltype(c)>;
    const dim3 grid{static_cast<unsigned>(a.qkv.rows), ceilDiv(a.shape.heads + 2 * a.shape.kvHeads, kWarps)};
    return gpuLaunch({"ropeKvWrite", grid, {32 * kWarps}, 0, s.stream}, ropeKvWriteKernel<T, C>, write);
  });
}

bool takesNormedColumns(const NormColumns& query, const NormColumns& key, const RopeKvWrite& a) {
  const int queries = a.shape.heads * a.shape.headDim, keys = a.shape.kvHeads * a.shape.headDim;
  const bool areWhole = query.column == 0 && query.weight.rows == queries && key.column == queries && key.weight.rows == keys;
  return areWhole && !a.norms.qNorm && hasColumnPacks(query) && hasColumnPacks(key);
}

cudaError_t normedRopeKvWrite(const NormColumns& query, const NormColumns& key, const RopeKvWrite& a, const Step& s) {
  return withWrite(a, [&](const auto& write, auto* q, auto* c) {
    using T = Element<decltype(q)>;
    using C = Element<decltype(c)>;
    return gpuLaunch({"normedRopeKvWrite", {static_cast<unsigned>(a.qkv.rows)}, {32 * kNormedWarps}, 0, s.stream}, normedRopeKvWriteKernel<T, C>, write, rowNorm(query), rowNorm(key));
  });
}

}  // namespace quire
