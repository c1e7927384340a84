// How a kernel meets the same kernel on other GPUs, over memory that all of them reach. Beside gpu.h, with the same two meanings.
#pragma once
#include "gpu.h"
#include "peer_memory.h"

namespace quire {

// A launch of which every block waits for the same block on the other GPUs. Its blocks must be resident at once: at most one for
// each multiprocessor.
template <class... Parameters, class... Arguments>
cudaError_t gpuLaunchWithPeers(const GpuLaunch& l, void (*kernel)(Parameters...), Arguments... arguments) {
#if defined(EMU)
  emu::meetsPeers = true;
  const cudaError_t e = gpuLaunch(l, kernel, arguments...);
  emu::meetsPeers = false;
  return e;
#else
  return gpuLaunch(l, kernel, arguments...);
#endif
}

__device__ __forceinline__ PeerMemory* peerMemory(const Peers& peers, int rank) { return static_cast<PeerMemory*>(peers.memory[rank]); }

// Call by all threads of a block, after their writes: returns when this block of every rank has done so for this meeting, and then
// what they wrote is seen here. `meeting` goes up by 1. After an abort it returns at once, and nothing means anything.
__device__ __forceinline__ void meetPeers(const Peers& peers, unsigned meeting) {
#if defined(EMU)
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < peers.size) {
    // The other ranks may be processes: what was written before is seen there with the flag.
    __atomic_store_n(&peerMemory(peers, threadIdx.x)->flags[blockIdx.x][peers.rank], meeting, __ATOMIC_RELEASE);
    const unsigned *flag = &peerMemory(peers, peers.rank)->flags[blockIdx.x][threadIdx.x], *aborted = peers.aborted;
    const auto load = [](const unsigned* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); };
    emu::current->block->spinOnPeer([=] { return static_cast<int>(load(flag) - meeting) >= 0 || load(aborted) != 0; }, __LINE__);
  }
  __syncthreads();
#else
  __threadfence_system();
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < peers.size) {
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(&peerMemory(peers, threadIdx.x)->flags[blockIdx.x][peers.rank]), "r"(meeting) : "memory");
    const unsigned* flag = &peerMemory(peers, peers.rank)->flags[blockIdx.x][threadIdx.x];
    unsigned seen, aborted = 0;
    // The word of the host is far away: it is looked at now and then.
    for (unsigned polls = 1;; polls++) {
      asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
      if (static_cast<int>(seen - meeting) >= 0 || aborted != 0) break;
      if (polls % 4096 == 0) asm volatile("ld.relaxed.sys.u32 %0, [%1];" : "=r"(aborted) : "l"(peers.aborted) : "memory");
    }
  }
  __syncthreads();
#endif
}

}  // namespace quire
