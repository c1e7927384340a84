// Clusters: neighbouring blocks of a grid that are on the chip at one time and read each other's shared memory; from compute
// capability 9 on. Beside gpu.h, with the same two meanings.
#pragma once
#include "gpu.h"

namespace quire {

// So many blocks a cluster may have on every chip that has them.
constexpr int kMostClusterBlocks = 8;

// By the first GPU.
inline bool hasClusters() {
  static const bool has = [] {
    int value = 0;
    cudaDeviceGetAttribute(&value, cudaDevAttrClusterLaunch, 0);
    return value != 0;
  }();
  return has;
}

// A launch whose blocks, so many at a time along x, are clusters.
template <class... Parameters, class... Arguments>
cudaError_t gpuLaunchInClusters(const GpuLaunch& l, int blocks, void (*kernel)(Parameters...), Arguments... arguments) {
#if defined(EMU)
  emu::clusterBlocks = static_cast<unsigned>(blocks);
  const cudaError_t e = gpuLaunch(l, kernel, arguments...);
  emu::clusterBlocks = 1;
  return e;
#else
  const cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(l.dynamicSharedBytes));
  if (e != cudaSuccess) return e;
  cudaLaunchAttribute attributes[2];
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {static_cast<unsigned>(blocks), 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = dependentLaunches && l.programmatic;
  cudaLaunchConfig_t config{};
  config.gridDim = l.grid;
  config.blockDim = l.block;
  config.dynamicSmemBytes = l.dynamicSharedBytes;
  config.stream = l.stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
#endif
}

// By all threads of all blocks of a cluster: what they wrote to shared memory before it is seen behind it. No block may end while
// another still reads its shared memory.
#define CLUSTER_BARRIER() clusterBarrier(__LINE__)
__device__ __forceinline__ void clusterBarrier([[maybe_unused]] int site) {
#if defined(EMU)
  emu::current->block->clusterBarrier(site);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

// What lies in the shared memory of block `rank` of the cluster where `own` lies in this block's.
#define CLUSTER_LOAD(own, rank) clusterLoad(own, rank, __LINE__)
__device__ __forceinline__ float4 clusterLoad(const float4* own, int rank, [[maybe_unused]] int site) {
#if defined(EMU)
  return *static_cast<const float4*>(emu::current->block->peerShared(own, static_cast<unsigned>(rank), site));
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(own));
  float4 v;
  asm volatile("{.reg .b32 remote; mapa.shared::cluster.u32 remote, %4, %5; ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [remote];}"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(address), "r"(rank) : "memory");
  return v;
#else
  return *own;
#endif
}

}  // namespace quire
