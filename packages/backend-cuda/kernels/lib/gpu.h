// The one header of every kernel: launches, shared memory, asynchronous copies and tensor-core instructions, for nvcc and
// for the emulator alike. Rules of style that keep both true are in docs/cuda-kernels.md.
#pragma once
#include <cstdint>

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"
#include "launch_mode.h"

constexpr uint32_t kFullMask = 0xffffffffu;

// ---------------------------------------------------------------------------------------------------------- shared memory
#if defined(EMU)
// `name` is a pointer to n elements, NaN bits at the start of the block.
#define SHARED(T, name, n)        \
  static const char name##_site = 0; \
  T* const name = emu::staticShared<T>(&name##_site, n)
#define DYN_SHARED(T, name) T* const name = reinterpret_cast<T*>(emu::current->block->shared)
#else
#define SHARED(T, name, n) __shared__ alignas(16) T name[n]
#define DYN_SHARED(T, name)                         \
  extern __shared__ __align__(128) unsigned char dynamic_shared_bytes[]; \
  T* const name = reinterpret_cast<T*>(dynamic_shared_bytes)
#endif

// ---------------------------------------------------------------------------------------------------------------- launches
struct GpuLaunch {
  const char* name;
  dim3 grid, block;
  size_t dynamicSharedBytes = 0;
  cudaStream_t stream = nullptr;
  bool cooperative = false;
  // May start while the kernel in front still runs, where the thread launches so. False for a kernel without waitForPrevious().
  bool programmatic = true;
};

// A block gets 48 KiB of shared memory without asking, its static arrays included, whose size a launch does not know: it asks
// from so many dynamic bytes on.
constexpr size_t kSharedWithoutAsking = 48 * 1024, kAskForSharedFrom = 40 * 1024;

// The only way to launch a kernel.
template <class... Parameters, class... Arguments>
cudaError_t gpuLaunch(const GpuLaunch& l, void (*kernel)(Parameters...), Arguments... arguments) {
  const bool programmatic = quire::dependentLaunches && l.programmatic && !l.cooperative;
#if defined(EMU)
  emu::LaunchConfig config{l.name, l.grid, l.block, l.dynamicSharedBytes, l.cooperative, programmatic};
  if (l.dynamicSharedBytes < kAskForSharedFrom) config.sharedLimit = kSharedWithoutAsking;
  return emu::launch(config, [=] { kernel(static_cast<Parameters>(arguments)...); }, l.stream);
#else
  if (l.dynamicSharedBytes >= kAskForSharedFrom) {
    const cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(l.dynamicSharedBytes));
    if (e != cudaSuccess) return e;
  }
  cudaLaunchAttribute attributes[2];
  unsigned count = 0;
  if (l.cooperative) {
    attributes[count].id = cudaLaunchAttributeCooperative;
    attributes[count++].val.cooperative = 1;
  }
  if (programmatic) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = l.grid;
  config.blockDim = l.block;
  config.dynamicSmemBytes = l.dynamicSharedBytes;
  config.stream = l.stream;
  config.attrs = attributes;
  config.numAttrs = count;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
#endif
}

// ------------------------------------------------------------------------------------------- programmatic dependent launch
__device__ __forceinline__ void waitForPrevious() {
#if defined(EMU)
  emu::current->block->waitForDependency();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// Lets the kernel behind start its blocks. The emulator starts them earlier still.
__device__ __forceinline__ void launchDependents() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// ------------------------------------------------------------------------------------------------------ global memory access
// A place in the code, for the emulator's count of sectors per request.
#define GPU_LOAD(pointer) gpuLoad(pointer, __LINE__)
#define GPU_STORE(pointer, value) gpuStore(pointer, value, __LINE__)

template <class T>
__device__ __forceinline__ T gpuLoad(const T* pointer, [[maybe_unused]] int site) {
#if defined(EMU)
  emu::recordAccess(emu::RequestLog::Kind::load, site, pointer, sizeof(T));
  return *pointer;
#else
  // Not through the read-only path: such a load may move in front of waitForPrevious().
  return *pointer;
#endif
}
// 16 bytes that this kernel reads once: they pass the first cache by. Zeros and no access unless `valid`.
#define GPU_LOAD_STREAMED(pointer, valid) gpuLoadStreamed(pointer, valid, __LINE__)
__device__ __forceinline__ uint4 gpuLoadStreamed(const uint4* pointer, bool valid, [[maybe_unused]] int site) {
  uint4 v{0, 0, 0, 0};
#if defined(EMU)
  if (!valid) return v;
  emu::recordAccess(emu::RequestLog::Kind::load, site, pointer, sizeof(uint4));
  return *pointer;
#else
  asm volatile("{.reg .pred valid; setp.ne.u32 valid, %5, 0; @valid ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];}"
               : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w) : "l"(pointer), "r"(static_cast<uint32_t>(valid)));
  return v;
#endif
}
template <class T>
__device__ __forceinline__ void gpuStore(T* pointer, T value, [[maybe_unused]] int site) {
#if defined(EMU)
  emu::recordAccess(emu::RequestLog::Kind::store, site, pointer, sizeof(T));
#endif
  *pointer = value;
}

// --------------------------------------------------------------------------------------------------- asynchronous copies
// 16 bytes from global to shared memory; bytes beyond validBytes become zero. Both addresses are multiples of 16.
__device__ __forceinline__ void cpAsync16(void* shared, const void* global, int validBytes = 16) {
#if defined(EMU)
  if (validBytes > 0) emu::recordAccess(emu::RequestLog::Kind::load, 0, global, validBytes);
  emu::asyncCopy(shared, global, 16, validBytes);
#else
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(validBytes) : "memory");
#endif
}
__device__ __forceinline__ void cpAsyncCommit() {
#if defined(EMU)
  emu::asyncCommit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int kGroupsLeft>
__device__ __forceinline__ void cpAsyncWait() {
#if defined(EMU)
  emu::asyncWait(kGroupsLeft);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroupsLeft) : "memory");
#endif
}

// ------------------------------------------------------------------------------------------------------------ tensor cores
// Four 8x8 matrices of 16-bit elements; lane i passes the address of row i % 8 of matrix i / 8.
template <bool kTranspose>
__device__ __forceinline__ void ldmatrixX4(uint32_t (&r)[4], const void* row) {
#if defined(EMU)
  emu::ldmatrix(r, row, kTranspose);
#else
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (kTranspose)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
#endif
}

// An 8x8 matrix of 16-bit elements, transposed: lane i holds elements 2 (i % 4) and 2 (i % 4) + 1 of row i / 4.
__device__ __forceinline__ uint32_t transpose8x8(uint32_t pair) {
#if defined(EMU)
  return emu::movmatrix(pair);
#else
  uint32_t r;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(pair));
  return r;
#endif
}

// Two floats rounded to T = __half or __nv_bfloat16, the first in the low half.
template <class T>
__device__ __forceinline__ uint32_t packPair(float low, float high) {
#if defined(EMU)
  if constexpr (__is_same(T, __half)) return __float2half_rn(low).bits | uint32_t{__float2half_rn(high).bits} << 16;
  else return __float2bfloat16_rn(low).bits | uint32_t{__float2bfloat16_rn(high).bits} << 16;
#else
  if constexpr (__is_same(T, __half)) {
    const __half2 pair = __floats2half2_rn(low, high);
    return reinterpret_cast<const uint32_t&>(pair);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const uint32_t&>(pair);
  }
#endif
}

// 2^x with a relative error of 2^-22; 0 for -infinity and where the result would be subnormal.
__device__ __forceinline__ float exp2Approximate(float x) {
#if defined(EMU)
  const float y = exp2f(x);
  return y < 1.17549435e-38f ? 0.0f : y;
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

// d (16x8, f32) += a (16x16, row) b (16x8, column), elements T = __half or __nv_bfloat16.
template <class T>
__device__ __forceinline__ void mma16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(EMU)
  emu::mma16816<T>(d, a, b);
#else
  if constexpr (sizeof(T) == 2 && __is_same(T, __half))
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// --------------------------------------------------------------------------------------------------------- across blocks
// Data crosses blocks in two ways only. arriveLast (crew.h): each block writes its part, then arrives; the block that arrives last
// reads all parts. gridBarrier: every block of a cooperative grid waits for all.

// `state` is one word, 0 before the launch. Needs a cooperative launch.
__device__ __forceinline__ void gridBarrier(unsigned* state) {
  const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    // The top bit flips when all have arrived: block 0 adds what is missing to it, the others 1.
    const unsigned add = blockIdx.x + blockIdx.y + blockIdx.z == 0 ? 0x80000000u - (blocks - 1) : 1u;
    const unsigned before = atomicAdd(state, add);
#if defined(EMU)
    emu::current->block->spin([=] { return ((*state ^ before) & 0x80000000u) != 0; }, __LINE__);
#else
    unsigned now;
    do {
      asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(now) : "l"(state) : "memory");
    } while (((now ^ before) & 0x80000000u) == 0);
#endif
  }
  __syncthreads();
}
