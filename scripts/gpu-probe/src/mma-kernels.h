// Tensor-core loops without global memory, for their peak rate.
#pragma once
#include "probe.h"

// A warp's tile of products: m and n in units of 16. Fragments stay in registers, or are loaded by ldmatrix for each k of 16.
struct MmaShape {
  int m, n;
  bool fromShared;
  int warpsPerBlock, blocksPerSm;
  double flops(int iterations, int smCount) const { return 2.0 * 16 * m * 16 * n * 64 * iterations * warpsPerBlock * blocksPerSm * smCount; }
};

// values: the bf16 matrices a (16 m x 64) and b (16 n x 64), row by row. One iteration multiplies them over all 64 k. `out`
// gets the sum of one warp, 16 m x 16 n, where it is not null.
void enqueueMma(const Probe& probe, const MmaShape& shape, size_t sharedBytesPerBlock, const uint16_t* values, float* out, int iterations);
