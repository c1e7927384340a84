// Moves whole cache blocks between the caches and records in pinned host memory. Plain C++, no Node-API.
#pragma once
#include <cstdint>

#include "cuda_runtime.h"

namespace quire {

// One block of one cache: its address on the device, and its place in a record of the host.
struct BlockMove {
  char* block;
  char* host;
  int64_t bytes;
};

// `moves` holds `count` entries in memory that the device can read. Every size and address is a multiple of `unit` bytes, which
// is 1, 2, 4 or 16. Enqueues one kernel.
cudaError_t transferBlocks(const BlockMove* moves, int count, int unit, bool toHost, cudaStream_t stream);

}  // namespace quire
