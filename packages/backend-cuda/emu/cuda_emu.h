// What a kernel sees of the emulator: thread indices, barriers, warp collectives, shared memory, asynchronous copies.
// Included through the shim headers in emu/include, never by kernels themselves; those include kernels/lib/gpu.h.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "src/grid.h"

#define EMU 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__
#define __constant__ static

#define threadIdx (emu::current->threadIdx)
#define blockIdx (emu::current->block->blockIdx)
#define blockDim (emu::current->block->grid.config.block)
#define gridDim (emu::current->block->grid.config.grid)
#define warpSize 32

#define __syncthreads() emu::current->block->barrier(0, 0, __LINE__)
#define __syncwarp(...) emu::syncWarp(emu::maskOr(__VA_ARGS__), __LINE__)
#define __activemask() emu::noActiveMask(__LINE__)

namespace emu {

inline uint32_t maskOr(uint32_t mask = 0xffffffffu) { return mask; }
inline void syncWarp(uint32_t mask, int line) { current->block->collective(mask, 0, nullptr, line, nullptr, nullptr); }
inline uint32_t noActiveMask(int line) {
  current->block->fail("line " + std::to_string(line) + ": __activemask() says nothing that a kernel may rely on; pass an explicit mask");
  return 0;
}

// Runs `execute(slots, lanes)` once, when every lane of `mask` has deposited its slot.
template <class Slot, class Execute>
void collective(uint32_t mask, int operation, Slot* slot, int line, Execute execute) {
  current->block->collective(
      mask, operation, slot, line,
      [](void** slots, uint32_t lanes, void* state) { (*static_cast<Execute*>(state))(reinterpret_cast<Slot**>(slots), lanes); }, &execute);
}

enum Operation { opShuffle = 1, opBallot, opMatch, opReduce, opMma, opLdmatrix, opMovmatrix, opProduct, opProductFence, opProductCommit, opProductWait };

template <class T, class Source>
T shuffle(uint32_t mask, T value, int width, int line, Source source) {
  struct Slot { T in, out; int from; } slot{value, value, source(current->lane, width)};
  collective(mask, opShuffle, &slot, line, [line](Slot** s, uint32_t lanes) {
    for (int lane = 0; lane < kWarpSize; lane++) {
      if (!(lanes >> lane & 1)) continue;
      const int from = s[lane]->from;
      if (s[from] == nullptr) current->block->fail("line " + std::to_string(line) + ": a shuffle reads lane " + std::to_string(from) + ", which takes no part");
      s[lane]->out = s[from]->in;
    }
  });
  return slot.out;
}
inline int xorLane(int lane, int by, int width) { const int to = lane ^ by; return to < (lane / width + 1) * width ? to : lane; }
inline int downLane(int lane, int by, int width) { return lane % width + by < width ? lane + by : lane; }
inline int upLane(int lane, int by, int width) { return lane % width >= by ? lane - by : lane; }
inline int indexLane(int lane, int index, int width) { return lane / width * width + (index % width + width) % width; }

inline uint32_t ballot(uint32_t mask, bool predicate, int line) {
  struct Slot { bool in; uint32_t out; } slot{predicate, 0};
  collective(mask, opBallot, &slot, line, [](Slot** s, uint32_t lanes) {
    uint32_t votes = 0;
    for (int lane = 0; lane < kWarpSize; lane++) votes |= (lanes >> lane & 1) && s[lane]->in ? 1u << lane : 0;
    for (int lane = 0; lane < kWarpSize; lane++) if (lanes >> lane & 1) s[lane]->out = votes;
  });
  return slot.out;
}
template <class T, class Combine>
T reduce(uint32_t mask, T value, int line, Combine combine) {
  struct Slot { T in, out; } slot{value, value};
  collective(mask, opReduce, &slot, line, [combine](Slot** s, uint32_t lanes) {
    bool first = true;
    T all{};
    for (int lane = 0; lane < kWarpSize; lane++) {
      if (!(lanes >> lane & 1)) continue;
      all = first ? s[lane]->in : combine(all, s[lane]->in);
      first = false;
    }
    for (int lane = 0; lane < kWarpSize; lane++) if (lanes >> lane & 1) s[lane]->out = all;
  });
  return slot.out;
}

// cp.async, as late as the model allows: the destination holds NaN bits from the issue until the wait that covers it.
void asyncCopy(void* destination, const void* source, int bytes, int validBytes);
void asyncCommit();
void asyncWait(int groupsLeft);

template <class T>
T* staticShared(const void* site, size_t count) {
  static_assert(std::is_trivial_v<T>, "shared memory holds trivial types only");
  return static_cast<T*>(current->block->staticShared(site, count * sizeof(T), alignof(T) < 16 ? 16 : alignof(T)));
}

inline void recordAccess(RequestLog::Kind kind, int site, const void* pointer, int bytes) {
  Thread& t = *current;
  t.block->warps[t.linear / kWarpSize].requests.record(kind, site, t.lane, reinterpret_cast<uintptr_t>(pointer), bytes);
}

// Tensor-core instructions, fragment layouts of the PTX ISA (mma.m16n8k16, ldmatrix.m8n8, movmatrix.m8n8.trans).
void ldmatrix(uint32_t (&r)[4], const void* row, bool transpose);
uint32_t movmatrix(uint32_t pair);
template <class T>
void mma16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

}  // namespace emu

#define __shfl_xor_sync(mask, value, by, ...) emu::shuffle(mask, value, emu::widthOr(__VA_ARGS__), __LINE__, [&](int l, int w) { return emu::xorLane(l, by, w); })
#define __shfl_down_sync(mask, value, by, ...) emu::shuffle(mask, value, emu::widthOr(__VA_ARGS__), __LINE__, [&](int l, int w) { return emu::downLane(l, by, w); })
#define __shfl_up_sync(mask, value, by, ...) emu::shuffle(mask, value, emu::widthOr(__VA_ARGS__), __LINE__, [&](int l, int w) { return emu::upLane(l, by, w); })
#define __shfl_sync(mask, value, index, ...) emu::shuffle(mask, value, emu::widthOr(__VA_ARGS__), __LINE__, [&](int l, int w) { return emu::indexLane(l, index, w); })
#define __ballot_sync(mask, predicate) emu::ballot(mask, predicate, __LINE__)
#define __any_sync(mask, predicate) (emu::ballot(mask, predicate, __LINE__) != 0)
#define __all_sync(mask, predicate) (emu::ballot(mask, !(predicate), __LINE__) == 0)
#define __reduce_add_sync(mask, value) emu::reduce(mask, value, __LINE__, [](auto a, auto b) { return a + b; })
#define __reduce_max_sync(mask, value) emu::reduce(mask, value, __LINE__, [](auto a, auto b) { return a > b ? a : b; })
#define __reduce_min_sync(mask, value) emu::reduce(mask, value, __LINE__, [](auto a, auto b) { return a < b ? a : b; })

namespace emu { inline int widthOr(int width = kWarpSize) { return width; } }

// Atomics: fibers switch only where they wait, so plain arithmetic is atomic.
template <class T> T atomicAdd(T* p, T v) { T old = *p; *p = old + v; return old; }
template <class T> T atomicMax(T* p, T v) { T old = *p; if (v > old) *p = v; return old; }
template <class T> T atomicMin(T* p, T v) { T old = *p; if (v < old) *p = v; return old; }
template <class T> T atomicExch(T* p, T v) { T old = *p; *p = v; return old; }
template <class T> T atomicOr(T* p, T v) { T old = *p; *p = old | v; return old; }
template <class T> T atomicCAS(T* p, T expected, T v) { T old = *p; if (old == expected) *p = v; return old; }
// Wraps to 0 after `limit`, as atomicInc does.
inline unsigned atomicInc(unsigned* p, unsigned limit) { unsigned old = *p; *p = old >= limit ? 0 : old + 1; return old; }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __nanosleep(unsigned) {}

inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __uint_as_float(uint32_t x) { float f; std::memcpy(&f, &x, 4); return f; }
inline uint32_t __float_as_uint(float f) { uint32_t x; std::memcpy(&x, &f, 4); return x; }
inline uint32_t __umulhi(uint32_t a, uint32_t b) { return static_cast<uint32_t>(uint64_t{a} * b >> 32); }
inline int __popc(uint32_t x) { return __builtin_popcount(x); }
inline int __clz(uint32_t x) { return x == 0 ? 32 : __builtin_clz(x); }
inline int __ffs(uint32_t x) { return __builtin_ffs(static_cast<int>(x)); }
