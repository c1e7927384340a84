// A whole program for the emulator; docs/cuda-emulator.md builds and explains it. With -DFORGET_BARRIER it shows a bug.
#include <cstdio>

#include "kernels/lib/gpu.h"

constexpr int kThreads = 64, kBlocks = 5, kCount = kThreads * kBlocks;

// out = x with the elements of each block in reverse.
__global__ void reverseBlocks(const float* x, float* out) {
  SHARED(float, tile, kThreads);
  waitForPrevious();
  const int first = blockIdx.x * kThreads;
  tile[threadIdx.x] = GPU_LOAD(x + first + threadIdx.x);
#if !defined(FORGET_BARRIER)
  __syncthreads();
#endif
  GPU_STORE(out + first + threadIdx.x, tile[kThreads - 1 - threadIdx.x]);
}

int main() {
  float *x = nullptr, *out = nullptr;
  cudaMalloc(reinterpret_cast<void**>(&x), kCount * sizeof(float));
  cudaMalloc(reinterpret_cast<void**>(&out), kCount * sizeof(float));
  for (int i = 0; i < kCount; i++) x[i] = static_cast<float>(i);
  int wrong = 0;
  for (const auto order : {emu::Order::forward, emu::Order::reverse, emu::Order::shuffled}) {
    emu::chip() = {/*smCount=*/3, /*blocksPerSm=*/1, order, /*seed=*/1};
    gpuLaunch({"reverseBlocks", {kBlocks}, {kThreads}}, reverseBlocks, x, out);
    if (cudaDeviceSynchronize() != cudaSuccess) std::printf("%s\n", emu::lastFault().c_str());
    for (int i = 0; i < kCount; i++) wrong += !(out[i] == static_cast<float>(i / kThreads * kThreads + kThreads - 1 - i % kThreads));
  }
  const emu::KernelCounters& c = emu::kernelCounters()["reverseBlocks"];
  std::printf("%d wrong; %.1f sectors per load request, %llu barriers\n", wrong, double(c.loadSectors) / c.loadRequests, static_cast<unsigned long long>(c.barriers));
  cudaFree(x);
  cudaFree(out);
  return wrong == 0 ? 0 : 1;
}
