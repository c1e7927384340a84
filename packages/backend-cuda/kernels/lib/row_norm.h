// RMS norm and layer norm of a row: what their kernels share with the products that norm their input themselves. A row has the
// same bits in all of them: its sums are always those of the warps of the norm's own kernel, whichever warp adds them up.
#pragma once
#include "reduce.h"
#include "row_packs.h"

namespace quire {

// A norm as kernels take it; no weight, no norm. `centred`: layerNorm, else rmsNorm.
struct RowNorm {
  const void *weight, *bias;
  DType dtype;
  float eps;
  bool centred;
};

// Of a row. `mean` has no meaning in an RMS norm.
struct NormStats {
  float mean, scale;
};
constexpr int kSumsOfRow = 16;
static_assert(kRowThreads / 32 == kSumsOfRow);

// The sum of a row's sums in shared memory, added as blockSumOnce adds those of its warps.
__device__ __forceinline__ float sumOfRow(const float* sums) {
  float tree[kSumsOfRow];
#pragma unroll
  for (int i = 0; i < kSumsOfRow; i++) tree[i] = sums[i];
#pragma unroll
  for (int by = 1; by < kSumsOfRow; by *= 2) {
#pragma unroll
    for (int i = 0; i < kSumsOfRow; i += 2 * by) tree[i] += tree[i + by];
  }
  return tree[0];
}

__device__ __forceinline__ float rmsNormed(float x, float scale, float weight) { return x * scale * weight; }
__device__ __forceinline__ float layerNormed(float x, const NormStats& s, float weight, float bias) { return (x - s.mean) * s.scale * weight + bias; }
__device__ __forceinline__ float normed(const RowNorm& norm, float x, const NormStats& s, float weight, float bias) {
  return norm.centred ? layerNormed(x, s, weight, bias) : rmsNormed(x, s.scale, weight);
}

// sums[16 r + w] = the sum over the elements of row r that warp w of a norm's kernel takes, in that warp's order, of
// term(r, element); by a block of kWarps warps. read(r, pack) gives a pack of 16 bytes; four of each lane are on their way at once.
template <int kWarps, class T, class Read, class Term>
__device__ __forceinline__ void sumRows(int rows, int packs, float* sums, Read read, Term term) {
  constexpr int kAtOnce = 4;
  const int lane = threadIdx.x % 32, warps = warpsOfRow(packs), items = rows * warps;
#pragma unroll 1
  for (int first = threadIdx.x / 32; first < items; first += kAtOnce * kWarps) {
    float parts[kAtOnce] = {};
#pragma unroll 1
    for (int round = 0; round * 32 * warps < packs; round++) {
      Pack<T> values[kAtOnce];
      auto packAt = [&](int item) { return (round * warps + item % warps) * 32 + lane; };
      auto isWithin = [&](int item) { return item < items && packAt(item) < packs; };
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) {
        if (const int item = first + i * kWarps; isWithin(item)) values[i] = read(item / warps, packAt(item));
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) {
        const int item = first + i * kWarps;
        if (!isWithin(item)) continue;
#pragma unroll
        for (int j = 0; j < Pack<T>::kSize; j++) parts[i] += term(item / warps, toFloat(values[i].values[j]));
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; i++) {
      const int item = first + i * kWarps;
      const float sum = warpSum(parts[i]);
      if (lane == 0 && item < items) sums[item / warps * kSumsOfRow + item % warps] = sum;
    }
  }
  for (int i = threadIdx.x; i < rows * kSumsOfRow; i += 32 * kWarps) {
    if (i % kSumsOfRow >= warps) sums[i] = 0;
  }
}

// stats[r] of each row, by all threads of a block of kWarps warps. `sums` holds 16 floats for each row. `again` reads packs when
// all have been read by `read`.
template <int kWarps, class T, class Read, class Again>
__device__ __forceinline__ void findStats(const RowNorm& norm, int rows, int columns, NormStats* stats, float* sums, Read read, Again again) {
  const int row = threadIdx.x, packs = columns / Pack<T>::kSize;
  if (norm.centred) {
    sumRows<kWarps, T>(rows, packs, sums, read, [](int, float x) { return x; });
    __syncthreads();
    if (row < rows) stats[row].mean = sumOfRow(sums + row * kSumsOfRow) / columns;
    __syncthreads();
    sumRows<kWarps, T>(rows, packs, sums, again, [&](int r, float x) {
      const float difference = x - stats[r].mean;
      return difference * difference;
    });
  } else {
    sumRows<kWarps, T>(rows, packs, sums, read, [](int, float x) { return x * x; });
  }
  __syncthreads();
  if (row < rows) stats[row].scale = rsqrtf(sumOfRow(sums + row * kSumsOfRow) / columns + norm.eps);
  __syncthreads();
}

}  // namespace quire
