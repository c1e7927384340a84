// What the operations of the sampler share: the record of a sample, ordered bits, finite tests, noise.
#pragma once
#include "../ops/step.h"
#include "gpu.h"
#include "row_state.h"

namespace quire {

// One block of this many threads works on one sample.
constexpr int kSamplerThreads = 512;

// A sample with the state of its row. `open`: it belongs to a row and its token is not known yet.
struct SampleView {
  uint32_t row, position, target;
  const uint32_t* state;
  bool open;
  __device__ uint32_t word(int field) const { return state[field]; }
  __device__ float number(int field) const { return __uint_as_float(state[field]); }
};
__device__ __forceinline__ SampleView viewSample(const uint32_t* samples, const uint32_t* rows, int s) {
  const uint32_t* r = samples + s * SAMPLE_WORDS;
  const uint32_t row = r[SampleWord::row], target = r[SampleWord::target];
  const uint32_t* state = row == NONE || rows == nullptr ? rows : rows + static_cast<int64_t>(row) * ROW_WORDS;
  return {row, r[SampleWord::position], target, state, row != NONE && target == NONE};
}

// Unsigned integers in the order of the floats they stand for.
__device__ __forceinline__ uint32_t orderedBits(float x) {
  const uint32_t b = __float_as_uint(x);
  return b & 0x80000000u ? ~b : b | 0x80000000u;
}
__device__ __forceinline__ float fromOrderedBits(uint32_t o) { return __uint_as_float(o & 0x80000000u ? o & 0x7fffffffu : ~o); }

__device__ __forceinline__ bool isFiniteBits(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// Philox 4x32-10 (Salmon et al. 2011).
__device__ __forceinline__ uint4 philox(uint4 c, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; round++) {
    const uint32_t high0 = __umulhi(0xd2511f53u, c.x), high1 = __umulhi(0xcd9e8d57u, c.z);
    const uint32_t low0 = 0xd2511f53u * c.x, low1 = 0xcd9e8d57u * c.z;
    c = make_uint4(high1 ^ c.y ^ k0, low1, high0 ^ c.w ^ k1, low0);
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  return c;
}

// Standard Gumbel noise of a random word; small u keep their digits, so that the tail is not cut at 2^-24.
__device__ __forceinline__ float gumbel(uint32_t word) {
  const float u = fminf((static_cast<float>(word) + 0.5f) * 2.3283064365386963e-10f, 1.0f - 5.9604645e-8f);
  const float e = u < 0.0009765625f ? u * (1.0f + u * (0.5f + u * (1.0f / 3.0f))) : -logf(1.0f - u);
  return -logf(e);
}

// True in every thread when x is true in any.
__device__ __forceinline__ bool blockAny(bool x, unsigned* scratch) {
  if (threadIdx.x == 0) *scratch = 0;
  __syncthreads();
  if (__any_sync(kFullMask, x) && threadIdx.x % 32 == 0) atomicOr(scratch, 1u);
  __syncthreads();
  return *scratch != 0;
}

}  // namespace quire
