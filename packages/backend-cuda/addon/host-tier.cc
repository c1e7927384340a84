#include "host-tier.h"

#include <algorithm>

#include "../kernels/transfer.h"

namespace quire {

namespace {
// Pinned memory is taken in slabs: each allocation stops the device for a moment.
constexpr int64_t kSlabBytes = int64_t{32} << 20;
// Blocks in a record begin at multiples of this, so that they move in the widest unit.
int64_t padded(int64_t bytes) { return (bytes + 15) / 16 * 16; }
}  // namespace

// A record of the old caches fits no slot of the new ones.
void HostTier::addCache(int handle, char* data, int64_t blockBytes) {
  clear();
  caches_[handle] = {data, blockBytes};
}

void HostTier::removeCache(int handle) {
  if (caches_.erase(handle) > 0) clear();
}

void HostTier::clear() {
  for (void* slab : slabs_) cudaFreeHost(slab);
  slabs_.clear();
  slots_.clear();
  roomBytes_ = 0;
}

int64_t HostTier::recordBytes() const {
  int64_t bytes = 0;
  for (const auto& [handle, cache] : caches_) bytes += padded(cache.blockBytes);
  return bytes;
}

int HostTier::unit() const {
  int64_t all = 0;
  for (const auto& [handle, cache] : caches_) all |= cache.blockBytes;
  return all % 16 == 0 ? 16 : all % 4 == 0 ? 4 : all % 2 == 0 ? 2 : 1;
}

cudaError_t HostTier::slotAt(int slot, char*& address) {
  if (const auto found = slots_.find(slot); found != slots_.end()) return address = found->second, cudaSuccess;
  const int64_t bytes = recordBytes();
  if (roomBytes_ < bytes) {
    void* slab = nullptr;
    const int64_t size = std::max(bytes, kSlabBytes / bytes * bytes);
    if (const cudaError_t e = cudaHostAlloc(&slab, static_cast<size_t>(size), cudaHostAllocDefault); e != cudaSuccess) return e;
    slabs_.push_back(slab);
    room_ = static_cast<char*>(slab);
    roomBytes_ = size;
  }
  address = slots_[slot] = room_;
  room_ += bytes;
  roomBytes_ -= bytes;
  return cudaSuccess;
}

cudaError_t HostTier::move(const std::vector<int>& blocks, const std::vector<int>& slots, bool toHost, cudaStream_t stream, StagingPool& staging, void*& table) {
  const size_t count = blocks.size() * caches_.size();
  table = nullptr;
  if (count == 0) return cudaSuccess;
  cudaError_t e = cudaSuccess;
  table = staging.take(count * sizeof(BlockMove), e);
  if (table == nullptr) return e;
  auto* next = static_cast<BlockMove*>(table);
  for (size_t i = 0; i < blocks.size(); i++) {
    char* record = nullptr;
    if (e = slotAt(slots[i], record); e != cudaSuccess) return e;
    for (const auto& [handle, cache] : caches_) {
      *next++ = {cache.data + blocks[i] * cache.blockBytes, record, cache.blockBytes};
      record += padded(cache.blockBytes);
    }
  }
  return transferBlocks(static_cast<const BlockMove*>(table), static_cast<int>(count), unit(), toHost, stream);
}

}  // namespace quire
