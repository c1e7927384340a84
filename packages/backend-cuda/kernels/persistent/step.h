// A run of operations of a decode step in one cooperative launch: the kernel, which step_f16.cu and step_bf16.cu compile.
//
// A block on each multiprocessor goes through a list of phases in device memory, with a barrier of the whole grid between two: a
// barrier costs less than the end of a kernel and the start of the next. Each phase is the part of one block of a kernel that other
// steps launch by itself, so a row has the same bits either way. In front of each barrier blocks ask for the first weights of the
// product behind it: they are on their way while the others arrive.
//
// Phases are read two ahead, by the last warp, which has no part in attention. What they say of rows is replaced by the rows of the
// step.
// One launch for a step, with barriers: after calm (github.com/zeux/calm, src/infer.cu); instructions in memory and weights that are
// fetched ahead: after Megakernels (github.com/HazyResearch/Megakernels).
#pragma once
#include "../lib/cache_write.h"
#include "../lib/cooperative.h"
#include "../lib/rotary_write.h"
#include "../linear/normed_product.h"
#include "../ops/persistent.h"
#include "../paged_attention/decode_tensor.h"

namespace quire::persistent {

enum Kind : int { kProduct, kRotation, kCacheWrite, kAttention };

using product::kThreads;
constexpr int kWarps = kThreads / 32;
constexpr int kPhasePacks = sizeof(Phase) / 16, kWindow = 3;
// Query heads of a work head: a row has the same bits with any.
constexpr int kHeads = 8;

// The phases around the one at work, in shared memory.
struct Window {
  const Phase* phases;
  int count;
  uint4* packs;
  // A pack of a phase for each lane of the last warp.
  __device__ __forceinline__ static int lane() { return static_cast<int>(threadIdx.x) - (kThreads - 32); }
  __device__ __forceinline__ static bool isReader() { return lane() >= 0 && lane() < kPhasePacks; }
  __device__ __forceinline__ uint4 load(int i) const {
    uint4 pack{};
    if (isReader() && i < count) pack = GPU_LOAD(reinterpret_cast<const uint4*>(phases + i) + lane());
    return pack;
  }
  __device__ __forceinline__ void store(int i, const uint4& pack) const {
    if (isReader()) packs[i % kWindow * kPhasePacks + lane()] = pack;
  }
  __device__ __forceinline__ int kind(int i) const { return reinterpret_cast<const Phase*>(packs)[i % kWindow].kind; }
  template <class A>
  __device__ __forceinline__ A& arguments(int i) const {
    static_assert(sizeof(A) <= sizeof(Phase::arguments) && alignof(A) <= 16);
    return *reinterpret_cast<A*>(reinterpret_cast<Phase*>(packs)[i % kWindow].arguments);
  }
};

using AttentionCrew = FirstThreads<kAttentionThreads>;

// A warp for each head of each row.
template <class T>
__device__ __forceinline__ void rotate(const RotaryWrite<T, T>& write, int rows) {
  const int heads = write.allHeads();
  for (int at = blockIdx.x * kWarps + threadIdx.x / 32; at < rows * heads; at += gridDim.x * kWarps) write.write(at / heads, at % heads);
}
// A block for each row.
template <class T>
__device__ __forceinline__ void writeTokens(const CacheWrite<T, T>& write, int rows) {
  for (int token = blockIdx.x; token < rows; token += gridDim.x) write.write(token);
}

template <class T, int kHeadDim>
__global__ void __launch_bounds__(kThreads, 1) persistentPhases(const Phase* phases, int count, int rows, unsigned* barrier) {
  DYN_SHARED(char, shared);
  SHARED(uint4, packs, kWindow * kPhasePacks);
  SHARED(float, rowSums, kNormedRows * kSumsOfRow);
  SHARED(NormStats, stats, kNormedRows);
  SHARED(bool, flag, 1);
  const Window window{phases, count, packs};
  auto withProduct = [&](int i, auto f) {
    auto p = window.arguments<product::Product<T>>(i);
    p.out.rows = rows, p.slots = product::slotsOf(rows);
    f(product::ProductPart<T, product::kDeep, true>(p, shared));
  };
  auto fill = [&](int i) {
    if (i < count && window.kind(i) == kProduct) withProduct(i, [](const auto& part) { part.fill(); });
  };
  window.store(0, window.load(0));
  window.store(1, window.load(1));
  __syncthreads();
  fill(0);
  waitForPrevious();
  for (int i = 0; i < count; i++) {
    if (i + 1 == count) launchDependents();
    if (const int kind = window.kind(i); kind == kAttention) {
      if (threadIdx.x < kAttentionThreads) {
        // It stays in shared memory: it would take too many registers.
        auto& attention = window.arguments<DecodeRows<T, T>>(i);
        if (threadIdx.x == 0) attention.problem.work.rows = rows;
        CREW_SYNC(AttentionCrew);
        decodePart<AttentionCrew, T, T, kHeadDim, kHeads>(attention, shared, flag);
      } else {
        window.store(i + 2, window.load(i + 2));
      }
      __syncthreads();  // all have left the memory of the ring
      fill(i + 1);
    } else {
      const uint4 ahead = window.load(i + 2);
      if (kind == kProduct) {
        withProduct(i, [&](const auto& part) { part.run(rowSums, stats, [&] { fill(i + 1); }); });
      } else {
        fill(i + 1);
        if (kind == kRotation) rotate(window.arguments<const RotaryWrite<T, T>>(i), rows);
        else writeTokens(window.arguments<const CacheWrite<T, T>>(i), rows);
      }
      window.store(i + 2, ahead);
    }
    if (i + 1 < count) gridBarrier(barrier);
  }
}

// Calls f(headDim) for the head dimensions that the kernel has.
template <class F>
auto withPersistentHeadDim(int headDim, F f) {
  if (headDim == 32) return f(std::integral_constant<int, 32>{});
  return headDim == 128 ? f(std::integral_constant<int, 128>{}) : f(std::integral_constant<int, 64>{});
}

template <class T>
cudaError_t launch(const PersistentStep& p, const Step& s, bool& taken) {
  return withPersistentHeadDim(p.headDim, [&](auto dim) {
    auto* const kernel = persistentPhases<T, decltype(dim)::value>;
    const GpuLaunch l{"persistentStep", {static_cast<unsigned>(s.smCount)}, {kThreads}, p.sharedBytes, s.stream, true};
    const cudaError_t e = fitsTogether(l, kernel, s.smCount, taken);
    return e == cudaSuccess && taken ? gpuLaunch(l, kernel, p.phases, p.count, s.sizes.tokens, p.barrier) : e;
  });
}

// Compiled apart.
cudaError_t launchF16(const PersistentStep&, const Step&, bool& taken);
cudaError_t launchBf16(const PersistentStep&, const Step&, bool& taken);

}  // namespace quire::persistent
