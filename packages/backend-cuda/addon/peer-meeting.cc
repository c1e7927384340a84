#include "peer-meeting.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <stdexcept>

#include "../kernels/lib/peer_memory.h"

namespace quire {
namespace {

void check(cudaError_t error, const std::string& doing) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw std::runtime_error(doing + ": " + cudaGetErrorName(error) + " (" + cudaGetErrorString(error) + ")");
}

}  // namespace

std::shared_ptr<PeerMeeting> PeerMeeting::of(const std::string& id, int size) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<PeerMeeting>> meetings;
  std::lock_guard lock(mutex);
  auto meeting = meetings[id].lock();
  if (!meeting) meetings[id] = meeting = std::make_shared<PeerMeeting>(size);
  return meeting;
}

PeerMeeting::PeerMeeting(int size) : memory_(size) {
  check(cudaHostAlloc(reinterpret_cast<void**>(&aborted_), sizeof *aborted_, cudaHostAllocPortable | cudaHostAllocMapped), "memory for a group of GPUs");
  *aborted_ = 0;
}

PeerMeeting::~PeerMeeting() {
  for (void* memory : memory_) cudaFree(memory);
  cudaFreeHost(aborted_);
}

void PeerMeeting::enter(int rank, const std::vector<int>& ordinals) {
  for (const int other : ordinals) {
    if (other == ordinals[rank]) continue;
    const cudaError_t e = cudaDeviceEnablePeerAccess(other, 0);
    if (e == cudaErrorPeerAccessAlreadyEnabled) cudaGetLastError();
    else check(e, "access to the memory of GPU " + std::to_string(other));
  }
  check(cudaMalloc(&memory_[rank], sizeof(PeerMemory)), "memory for a group of GPUs");
  check(cudaMemset(memory_[rank], 0, sizeof(PeerMemory)), "memory for a group of GPUs");
}

Peers PeerMeeting::peersOf(int rank) const {
  Peers peers{rank, static_cast<int>(memory_.size())};
  std::copy(memory_.begin(), memory_.end(), peers.memory);
  peers.aborted = aborted_;
  return peers;
}

bool reachOneAnother(const std::vector<int>& ordinals) {
  if (ordinals.size() > kMostPeers) return false;
  for (const int from : ordinals) {
    for (const int to : ordinals) {
      int can = 1;
      if (from != to && (cudaDeviceCanAccessPeer(&can, from, to) != cudaSuccess || can == 0)) return cudaGetLastError(), false;
    }
  }
  return true;
}

}  // namespace quire
