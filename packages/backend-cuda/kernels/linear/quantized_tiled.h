// linear with a quantised weight at many rows, on tensor cores: the tiled product of tiled.cu, whose weights lie in shared memory as
// codes and become numbers in registers. As they are dequantised where they are multiplied, a weight moves in its few bits alone.
//
// A block owns 16 kWeightTiles rows of the weight and 8 kRowTiles rows of x, and goes along K by 64 with a ring of kStages stages;
// each warp owns a part of the tile, of twice as many rows of x as rows of the weight: numbers are made once for 8 tiles of x. Scales
// of groups come by 16 bytes of a row, as soon as their first column does, into kScaleSlots places. At the end of a slice of K the
// sums go over into the totals: so an output has the bits that the swapAb form gives it.
//
// By instructions: in a step of 32 columns a warp of the large tile has 32 on tensor cores, 48 that make numbers of codes, 64 that
// take in scales and 24 reads of shared memory. x is f16 or bf16, with rows of 16 bytes.
#pragma once
#include "../lib/tile_order.h"
#include "quantized_tile.h"

namespace quire::quantized {

constexpr int kScaleSlots = 4;

template <class F, int kWeightTiles_, int kRowTiles_, int kWeightWarps_, int kRowWarps_, int kStages_>
struct TiledShape {
  static constexpr int kWeightTiles = kWeightTiles_, kRowTiles = kRowTiles_, kWeightWarps = kWeightWarps_, kStages = kStages_, kK = 64;
  static constexpr int kThreads = 32 * kWeightWarps * kRowWarps_;
  // The part of one warp, in tiles.
  static constexpr int kWarpWeightTiles = kWeightTiles / kWeightWarps, kWarpRowTiles = kRowTiles / kRowWarps_;
  static constexpr int kRows = 8 * kRowTiles, kWeightRows = 16 * kWeightTiles;
  // A stage: x, and behind it codes. Of one row of each, in units of 16 bytes.
  static constexpr int kUnits = kK / 8, kCodeUnits = kK * F::kBits / 128;
  static constexpr int kStageBytes = 16 * (kRows * kUnits + kWeightRows * kCodeUnits);
  static constexpr int kSumStride = kWeightRows + 4;
  static constexpr int kRingBytes = kStages * kStageBytes, kSumBytes = kRows * kSumStride * 4;
  // Scales lie behind both.
  static constexpr int kScales = kRingBytes > kSumBytes ? kRingBytes : kSumBytes, kSharedBytes = kScales + kScaleSlots * kWeightRows * 16;
  // Scales of fewer columns than 128 in 16 bytes would need more places.
  static_assert((kScaleSlots - 1) * 128 >= kK * (kStages - 1));

  // Where a unit of a row lies in a stage: what 8 lanes (x) or 32 (codes) ask for at a time is in different banks.
  __device__ static __forceinline__ int unitAt(int row, int unit) { return 16 * (row * kUnits + (unit ^ ((row & 1) << 2 | (row >> 1 & 3)))); }
  __device__ static __forceinline__ int codesAt(int row, int unit) {
    return 16 * (kRows * kUnits + row * kCodeUnits + (unit ^ (kCodeUnits == 2 ? row >> 2 & 1 : row & 2)));
  }
};

template <class T, class F, class S>
__global__ void __launch_bounds__(S::kThreads, 1) linearQuantTiled(const T* x, const char* weight, QuantRecord record, LinearOutput out, int k, int length, int weightBlocks, int rowBlocks) {
  DYN_SHARED(char, shared);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warpWeight = warp % S::kWeightWarps * S::kWarpWeightTiles * 16, warpRow = warp / S::kWeightWarps * S::kWarpRowTiles * 8;
  const TilePlace place = tilePlace(blockIdx.x, weightBlocks, rowBlocks);
  const int firstTile = place.weights * S::kWeightTiles, firstRow = place.rows * S::kRows;
  const int steps = (k + S::kK - 1) / S::kK;
  char* const scales = shared + S::kScales;
  auto stageOf = [&](int step) { return shared + step % S::kStages * S::kStageBytes; };
  auto copyRecord = [&](char* to, int local, int at, int end) {
    const int row = weightRow(out, firstTile, local);
    const bool valid = row >= 0 && at < end;
    cpAsync16(to, valid ? weight + row * record.bytes + at : weight, valid ? 16 : 0);
  };

  // 16 bytes hold the scales of 1 << scaleShift columns, whole stages; q8: of all.
  const int scaleShift = F::kBits == 4 ? record.groupShift + (F::kZeros ? 2 : 3) : 30;
  auto copyWeights = [&](int step) {
#pragma unroll
    for (int i = threadIdx.x; i < S::kWeightRows * S::kCodeUnits; i += S::kThreads) {
      const int row = i / S::kCodeUnits, unit = i % S::kCodeUnits;
      copyRecord(stageOf(step) + S::codesAt(row, unit), row, (step * S::kCodeUnits + unit) * 16, record.codeBytes);
    }
    if (const int part = step * S::kK >> scaleShift; step * S::kK == part << scaleShift) {
      for (int row = threadIdx.x; row < S::kWeightRows; row += S::kThreads) {
        copyRecord(scales + (part % kScaleSlots * S::kWeightRows + row) * 16, row, record.codeBytes + part * 16, record.codeBytes + record.scaleBytes);
      }
    }
  };
  auto copyActivations = [&](int step) {
#pragma unroll
    for (int i = threadIdx.x; i < S::kRows * S::kUnits; i += S::kThreads) {
      const int row = i / S::kUnits, unit = i % S::kUnits, column = step * S::kK + 8 * unit;
      const bool valid = firstRow + row < out.rows && column < k;
      cpAsync16(stageOf(step) + S::unitAt(row, unit), valid ? x + static_cast<int64_t>(firstRow + row) * k + column : x, valid ? 16 : 0);
    }
  };

  for (int step = 0; step < S::kStages - 1 && step < steps; step++) copyWeights(step);
  launchDependents();
  waitForPrevious();
  for (int step = 0; step < S::kStages - 1; step++) {
    if (step < steps) copyActivations(step);
    cpAsyncCommit();
  }
  float sums[S::kWarpWeightTiles][S::kWarpRowTiles][4] = {}, totals[S::kWarpWeightTiles][S::kWarpRowTiles][4] = {};
  int sliceEnd = length;
  for (int step = 0; step < steps; step++) {
    cpAsyncWait<S::kStages - 2>();
    __syncthreads();  // all copies of this stage have landed, and all warps have used the stage that is filled next
    if (const int next = step + S::kStages - 1; next < steps) copyWeights(next), copyActivations(next);
    cpAsyncCommit();
    const char* const stage = stageOf(step);
    // One step after the other: what two of q4 need at once does not fit a thread's registers.
#pragma unroll(F::kBits == 8 ? 2 : 1)
    for (int i = 0; i < S::kK / kStep; i++) {
      const int column = step * S::kK + i * kStep, part = lane % 4;
      if (column >= k) break;
      uint4 rows[S::kWarpRowTiles];
#pragma unroll
      for (int t = 0; t < S::kWarpRowTiles; t++) rows[t] = *reinterpret_cast<const uint4*>(stage + S::unitAt(warpRow + 8 * t + lane / 4, i * 4 + part));
      auto codesAt = [&](int row) {
        return stage + (F::kBits == 4 ? S::codesAt(warpWeight + row, i) + 4 * part : S::codesAt(warpWeight + row, 2 * i + part / 2) + part % 2 * 8);
      };
      multiplyStep<T, F>(sums, rows, codesAt, [&](int row) {
        const char* const slot = scales + ((column >> scaleShift) % kScaleSlots * S::kWeightRows + warpWeight + row) * 16;
        return scaleBits<F::kZeros>(slot, (column >> record.groupShift) % (16 / F::kScaleBytes));
      });
    }
    if ((step + 1) * S::kK < sliceEnd && step + 1 < steps) continue;
    sliceEnd += length;
#pragma unroll
    for (int m = 0; m < S::kWarpWeightTiles; m++) {
#pragma unroll
      for (int t = 0; t < S::kWarpRowTiles; t++) {
#pragma unroll
        for (int j = 0; j < 4; j++) totals[m][t][j] += sums[m][t][j], sums[m][t][j] = 0;
      }
    }
  }

  cpAsyncWait<0>();
  __syncthreads();
  float* const block = reinterpret_cast<float*>(shared);
  spreadSums(block + warpRow * S::kSumStride + warpWeight, S::kSumStride, totals);
  __syncthreads();
  storeBlock<S::kWeightTiles, S::kThreads>(out, firstTile, firstRow, S::kRows, [&](int row, int local, float (&total)[4]) {
    const auto sum = *reinterpret_cast<const float4*>(block + row * S::kSumStride + local);
    total[0] = sum.x, total[1] = sum.y, total[2] = sum.z, total[3] = sum.w;
    if constexpr (F::kBits == 8) {
#pragma unroll
      for (int i = 0; i < 4; i++) total[i] *= *reinterpret_cast<const float*>(scales + (local + i) * 16);
    }
  });
}

template <class S>
int weightBlocks(const LinearProblem& p) { return static_cast<int>(ceilDiv(p.n(), (p.gated ? 8 : 16) * S::kWeightTiles)); }
template <class S>
int rowBlocks(const LinearProblem& p) { return static_cast<int>(ceilDiv(p.rows(), S::kRows)); }
template <class S>
int64_t blocks(const LinearProblem& p) { return static_cast<int64_t>(weightBlocks<S>(p)) * rowBlocks<S>(p); }

template <class F>
using LargeTile = TiledShape<F, 8, 16, 4, 2, 4>;  // 128 x 128
template <class F>
using SmallTile = TiledShape<F, 4, 8, 2, 2, 4>;  // 64 x 64

template <class T, class F, class S>
cudaError_t launchTiled(const LinearProblem& p, const Step& s) {
  const GpuLaunch l{p.gated ? "gatedLinearQuantTiled" : "linearQuantTiled", {static_cast<unsigned>(blocks<S>(p))}, {S::kThreads}, S::kSharedBytes, s.stream};
  return gpuLaunch(l, linearQuantTiled<T, F, S>, p.x.as<T>(), p.weight.as<char>(), recordOf(p.weight.dtype, p.k()), makeOutput(p), p.k(), sliceColumns(p.k()), weightBlocks<S>(p), rowBlocks<S>(p));
}

template <class T>
cudaError_t launchTiled(const LinearProblem& p, const Step& s) {
  return withQuantFormat(p.weight.dtype, [&](auto format) {
    using F = decltype(format);
    return blocks<LargeTile<F>>(p) >= s.smCount ? launchTiled<T, F, LargeTile<F>>(p, s) : launchTiled<T, F, SmallTile<F>>(p, s);
  });
}

// Whether the small tile makes half as many blocks as the chip has multiprocessors. Where it does not, swapAb, whose blocks divide K,
// keeps more of it busy.
inline bool fillsTiles(const LinearProblem& p, const Step& s) { return 2 * blocks<SmallTile<QuantFormat<8, false>>>(p) >= s.smCount; }

// In a source each, so that they are compiled side by side.
cudaError_t launchTiledF16(const LinearProblem&, const Step&);
cudaError_t launchTiledBf16(const LinearProblem&, const Step&);

}  // namespace quire::quantized
