// What host code asks of the chip.
#pragma once
#include "gpu.h"

namespace quire {

// Shared memory that a block may have, in bytes, by the first GPU.
inline int sharedBytesPerBlock() {
  static const int bytes = [] {
    int most = 0;
    cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0);
    return most;
  }();
  return bytes;
}

// Shared memory of an SM in bytes. A block takes kBlockReserve of it beside its dynamic part.
constexpr int kBlockReserve = 1024 + 128;
inline int sharedBytesPerSm() { return sharedBytesPerBlock() + 1024; }

}  // namespace quire
