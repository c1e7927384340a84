// Products of a warpgroup (wgmma, PTX ISA 9.0, 9.7.15): D (64 x N, f32) += A (64 x 16) B (16 x N) by 128 threads, whose first is a
// multiple of 128, beside what they do meanwhile. Compiled for sm_90a alone; the emulator has them where its chip has.
//
// B lies in shared memory, A there or in registers. In shared memory: blocks of 64 elements, 128 bytes, to a row; rows one behind the
// other; 16-byte unit u of row r at u ^ r % 8. A block begins at a multiple of 1024 bytes. Rows are those of A, columns of B, or,
// where B is N-major, rows of B.
//
// Order of the calls: writes to operands by all threads (and cpAsyncWait), fenceProxyAsync(), a barrier; wgmmaFence(), products,
// wgmmaCommit(), wgmmaWait(). Between a product and its wait nobody touches its accumulators, its registers of A, or its operands.
#pragma once
#include "gpu.h"
#if defined(EMU)
#include "src/warpgroup.h"
#endif

#if defined(EMU) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define QUIRE_HAS_WGMMA 1
#else
#define QUIRE_HAS_WGMMA 0
#endif

namespace quire {

constexpr bool kHasWgmma = QUIRE_HAS_WGMMA != 0;

constexpr int kWarpgroupThreads = 128, kWarpgroupRows = 64;
// Elements and bytes of a row of a block, and the bytes after which the places of its units repeat.
constexpr int kBlockElements = 64, kBlockRowBytes = 128, kPatternBytes = 8 * kBlockRowBytes;

// Whether the current device has them.
inline bool hasWgmma() {
#if defined(EMU)
  return emu::hasWarpgroupProducts();
#else
  int device = 0, major = 0, minor = 0;
  const bool known = cudaGetDevice(&device) == cudaSuccess && cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
                     cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess;
  return known && major == 9 && minor == 0;
#endif
}

// ---------------------------------------------------------------------------------------------------------------- operands

__device__ __forceinline__ uint32_t addressOfShared(const void* shared) {
#if defined(EMU)
  return emu::sharedAddress(shared);
#else
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
#endif
}
// The first multiple of 1024 bytes of shared memory from here on.
__device__ __forceinline__ char* alignForWgmma(char* shared) { return shared + (0u - addressOfShared(shared)) % kPatternBytes; }

// What an operand is named by: a matrix descriptor with 128-byte swizzle. blockBytes: from one block of 64 columns of an N-major B to
// the next.
__device__ __forceinline__ uint64_t wgmmaOperand(const void* shared, uint32_t blockBytes = kPatternBytes) {
  return uint64_t{1} << 62 | uint64_t{kPatternBytes >> 4} << 32 | uint64_t{blockBytes >> 4} << 16 | (addressOfShared(shared) & 0x3ffff) >> 4;
}
// The operand so many bytes further on: 32 for the next 16 elements of rows, whole patterns for the next rows.
__device__ __forceinline__ uint64_t advanced(uint64_t operand, uint32_t bytes) { return operand + (bytes >> 4); }

// ------------------------------------------------------------------------------------------------------------------- order

// Products see what this thread has written to shared memory, once it has met the others at a barrier.
__device__ __forceinline__ void fenceProxyAsync() {
#if defined(EMU)
  emu::fenceProxyAsync();
#elif QUIRE_HAS_WGMMA
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
// Products see what this thread has written to registers.
__device__ __forceinline__ void wgmmaFence() {
#if defined(EMU)
  emu::wgmmaFence();
#elif QUIRE_HAS_WGMMA
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void wgmmaCommit() {
#if defined(EMU)
  emu::wgmmaCommit();
#elif QUIRE_HAS_WGMMA
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
// Waits for all committed groups of products but the kGroupsLeft youngest.
template <int kGroupsLeft>
__device__ __forceinline__ void wgmmaWait() {
#if defined(EMU)
  emu::wgmmaWait(kGroupsLeft);
#elif QUIRE_HAS_WGMMA
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGroupsLeft) : "memory");
#endif
}
// Keeps the compiler from moving what it does with registers across this place.
template <int kBlocks>
__device__ __forceinline__ void pinRegisters([[maybe_unused]] float (&d)[kBlocks][4]) {
#if !defined(EMU) && QUIRE_HAS_WGMMA
#pragma unroll
  for (int j = 0; j < kBlocks; j++) asm volatile("" : "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])::"memory");
#endif
}

// ---------------------------------------------------------------------------------------------------------------- products
#if !defined(EMU) && QUIRE_HAS_WGMMA
#define WGMMA_D4(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#define WGMMA_D32(j) WGMMA_D4(j), WGMMA_D4(j + 1), WGMMA_D4(j + 2), WGMMA_D4(j + 3), WGMMA_D4(j + 4), WGMMA_D4(j + 5), WGMMA_D4(j + 6), WGMMA_D4(j + 7)
#define WGMMA_PLACES32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define WGMMA_PLACES64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define WGMMA(type, n, accumulates, places, operands) \
  "{.reg .pred p; setp.ne.b32 p, " accumulates ", 0; wgmma.mma_async.sync.aligned.m64n" n "k16.f32." type "." type " {" places "}, " operands "}"
#define WGMMA_A "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])
#endif

// d: of row lane / 4 + 8 (i / 2) of the warp's 16 and column 8 j + 2 (lane % 4) + i % 2, d[j][i], as from mma16816 in eights of columns.
// Rows of both operands are 16 elements of depth.
template <class T>
__device__ __forceinline__ void wgmmaShared([[maybe_unused]] float (&d)[16][4], [[maybe_unused]] uint64_t a, [[maybe_unused]] uint64_t b, [[maybe_unused]] bool accumulates) {
#if defined(EMU)
  emu::wgmmaIssue({emu::elementKind<T>, 128, false, false, accumulates, a, b}, d[0], nullptr);
#elif QUIRE_HAS_WGMMA
  if constexpr (__is_same(T, __half)) asm volatile(WGMMA("f16", "128", "%66", WGMMA_PLACES64, "%64, %65, p, 1, 1, 0, 0;") : WGMMA_D32(0), WGMMA_D32(8) : "l"(a), "l"(b), "r"(static_cast<int>(accumulates)));
  else asm volatile(WGMMA("bf16", "128", "%66", WGMMA_PLACES64, "%64, %65, p, 1, 1, 0, 0;") : WGMMA_D32(0), WGMMA_D32(8) : "l"(a), "l"(b), "r"(static_cast<int>(accumulates)));
#endif
}

// d += a b, where a is as for mma16816, of the warp's 16 rows, and B is N-major.
template <class T, int kN>
__device__ __forceinline__ void wgmmaRegisters([[maybe_unused]] float (&d)[kN / 8][4], [[maybe_unused]] const uint32_t (&a)[4], [[maybe_unused]] uint64_t b) {
  static_assert(kN == 64 || kN == 128, "columns that there is a product of");
#if defined(EMU)
  emu::wgmmaIssue({emu::elementKind<T>, kN, true, true, true, 0, b}, d[0], a);
#elif QUIRE_HAS_WGMMA
  if constexpr (kN == 128) {
    if constexpr (__is_same(T, __half)) asm volatile(WGMMA("f16", "128", "1", WGMMA_PLACES64, "{%64, %65, %66, %67}, %68, p, 1, 1, 1;") : WGMMA_D32(0), WGMMA_D32(8) : WGMMA_A, "l"(b));
    else asm volatile(WGMMA("bf16", "128", "1", WGMMA_PLACES64, "{%64, %65, %66, %67}, %68, p, 1, 1, 1;") : WGMMA_D32(0), WGMMA_D32(8) : WGMMA_A, "l"(b));
  } else {
    if constexpr (__is_same(T, __half)) asm volatile(WGMMA("f16", "64", "1", WGMMA_PLACES32, "{%32, %33, %34, %35}, %36, p, 1, 1, 1;") : WGMMA_D32(0) : WGMMA_A, "l"(b));
    else asm volatile(WGMMA("bf16", "64", "1", WGMMA_PLACES32, "{%32, %33, %34, %35}, %36, p, 1, 1, 1;") : WGMMA_D32(0) : WGMMA_A, "l"(b));
  }
#endif
}

#undef WGMMA_D4
#undef WGMMA_D32
#undef WGMMA_PLACES32
#undef WGMMA_PLACES64
#undef WGMMA
#undef WGMMA_A

}  // namespace quire
