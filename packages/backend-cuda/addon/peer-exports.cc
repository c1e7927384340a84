#include "peer-exports.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "../kernels/lib/peer_memory.h"

namespace quire {
namespace {

// A handle gives away the whole block of an allocation, and cudaMalloc puts several into one; multiples of this are alone in
// theirs, and begin where it does.
constexpr size_t kBlockBytes = size_t{2} << 20;
constexpr size_t kExportBytes = (sizeof(PeerMemory) + kBlockBytes - 1) / kBlockBytes * kBlockBytes;

void check(cudaError_t error, const std::string& doing) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw std::runtime_error(doing + ": " + cudaGetErrorName(error) + " (" + cudaGetErrorString(error) + ")");
}

// As NCCL tells machines apart: by NCCL_HOSTID where it is set, else by name and boot.
std::string hostId() {
  if (const char* given = std::getenv("NCCL_HOSTID")) return given;
  char name[65] = {};
  gethostname(name, sizeof name - 1);
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  return std::string(name) + " " + boot;
}

// A GPU that this process does not see may be reached all the same: opening its memory tells.
bool isOutOfReach(int ordinal, const char* gpu) {
  int other = 0, can = 1;
  if (cudaDeviceGetByPCIBusId(&other, gpu) != cudaSuccess) return cudaGetLastError(), false;
  if (cudaDeviceCanAccessPeer(&can, ordinal, other) != cudaSuccess) cudaGetLastError();
  return can == 0;
}

std::string rankName(size_t rank) { return "rank " + std::to_string(rank); }

}  // namespace

PeerExports::PeerExports(int ordinal) : ordinal_(ordinal) {
  std::snprintf(own_.host, sizeof own_.host, "%s", hostId().c_str());
  check(cudaDeviceGetPCIBusId(own_.gpu, sizeof own_.gpu, ordinal), "the GPU's place on the bus");
  check(cudaMalloc(&memory_, kExportBytes), "memory for a group of GPUs");
  try {
    check(cudaHostAlloc(reinterpret_cast<void**>(&aborted_), sizeof *aborted_, cudaHostAllocPortable | cudaHostAllocMapped), "memory for a group of GPUs");
    check(cudaMemset(memory_, 0, kExportBytes), "memory for a group of GPUs");
    check(cudaDeviceSynchronize(), "memory for a group of GPUs");
    check(cudaIpcGetMemHandle(&own_.memory, memory_), "memory that other processes can open");
  } catch (const std::runtime_error&) {
    cudaFree(memory_);
    cudaFreeHost(aborted_);
    throw;
  }
  *aborted_ = 0;
}

PeerExports::~PeerExports() {
  close();
  if (othersClose_) cudaFree(memory_);
  cudaFreeHost(aborted_);
}

void PeerExports::open(int rank, const std::vector<PeerExport>& all) {
  if (all.size() > kMostPeers) throw std::runtime_error("found a group of " + std::to_string(all.size()) + " GPUs, expected at most " + std::to_string(kMostPeers));
  const std::string name = rankName(rank);
  peers_.rank = rank, peers_.size = static_cast<int>(all.size()), peers_.aborted = aborted_;
  for (size_t other = 0; other < all.size(); other++) {
    if (static_cast<int>(other) == rank) continue;
    if (std::strcmp(all[other].host, own_.host) != 0) throw std::runtime_error(name + " and " + rankName(other) + " are on different hosts");
    if (isOutOfReach(ordinal_, all[other].gpu)) throw std::runtime_error("the GPU of " + name + " has no access to the memory of that of " + rankName(other));
  }
  for (size_t other = 0; other < all.size(); other++) {
    void*& memory = peers_.memory[other];
    if (static_cast<int>(other) == rank) memory = memory_;
    else check(cudaIpcOpenMemHandle(&memory, all[other].memory, cudaIpcMemLazyEnablePeerAccess), name + " cannot open the memory of " + rankName(other));
  }
}

void PeerExports::close() {
  for (void*& memory : peers_.memory) {
    if (memory != nullptr && memory != memory_ && cudaIpcCloseMemHandle(memory) != cudaSuccess) cudaGetLastError();
    memory = nullptr;
  }
}

}  // namespace quire
