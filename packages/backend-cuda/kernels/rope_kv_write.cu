// ropeKvWrite: rope, then kvWrite, in one launch: norms queries and keys of qkv where the op has norms, rotates them, in place, and
// scatters these keys and the values into their cache slots.
//
// A warp owns a head of a token, queries, keys and values alike, so that a step of one token still fills a multiprocessor or
// more; a block is eight of them. Its lanes share it by packs of 16 bytes where the rotation lets them. A lane writes to the cache
// what it rotated itself, as it stored it, rounded to the dtype of qkv: no lane reads what another one wrote. Of a vector that becomes codes the lanes share the largest magnitude.
//
// With norms of all queries and of all keys in front, a block owns a token, as its heads share their sums of squares.
#include "lib/rotary_write.h"
#include "lib/row_norm.h"
#include "ops/joint.h"

namespace quire {
namespace {

constexpr int kWarps = 8;

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
__global__ void __launch_bounds__(32 * kNormedWarps, 1) normedRopeKvWriteKernel(RotaryWrite<T, C> w, RowNorm query, RowNorm key) {
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
      forOwnElements<T>(lane, false, headDim, w.rotary, [&](int i) { from[i] = fromFloat<T>(rmsNormed(toFloat(from[i]), scale, loadElement(norm.weight, norm.dtype, first + i))); });
    }
    w.write(token, head);
  }
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
