// linear for many rows on tensor cores: a tiled product with a ring of kStages tiles in shared memory.
//
// A block owns 16 kWeightTiles rows of the weight and 8 kRowTiles rows of x, and goes along K by kK; each warp owns a part of
// the tile. At the end of a slice of K the sums go over into the totals: so an output has the bits that the swapAb form gives
// it.
//
// x and weight are both f16 or both bf16, with rows of 16 bytes. The tile is chosen by the number of blocks that it makes;
// the sums do not depend on it.
#include "../lib/tile_order.h"
#include "tile.h"

namespace quire {
namespace {

template <int kWeightTiles_, int kRowTiles_, int kWeightWarps_, int kRowWarps_, int kK_, int kStages_>
struct Shape {
  static constexpr int kWeightTiles = kWeightTiles_, kRowTiles = kRowTiles_, kK = kK_, kStages = kStages_;
  static constexpr int kWeightWarps = kWeightWarps_, kThreads = 32 * kWeightWarps_ * kRowWarps_;
  // The part of one warp, in tiles.
  static constexpr int kWarpWeightTiles = kWeightTiles / kWeightWarps_, kWarpRowTiles = kRowTiles / kRowWarps_;
  static constexpr int kRows = 8 * kRowTiles, kWeightRows = 16 * kWeightTiles;
  static constexpr int kStageElements = (kWeightRows + kRows) * kK;
  static constexpr int kSumStride = kWeightRows + 4;
  static constexpr int kRingBytes = kStages * kStageElements * 2, kSumBytes = kRows * kSumStride * 4;
  static constexpr int kSharedBytes = kRingBytes > kSumBytes ? kRingBytes : kSumBytes;
};

template <class T, class S>
__global__ void __launch_bounds__(S::kThreads, 1) linearTiled(const T* x, const T* weight, LinearOutput out, int k, int length, int weightBlocks, int rowBlocks) {
  DYN_SHARED(char, shared);
  T* const ring = reinterpret_cast<T*>(shared);
  const int warp = threadIdx.x / 32, warpWeight = warp % S::kWeightWarps * S::kWarpWeightTiles, warpRow = warp / S::kWeightWarps * S::kWarpRowTiles;
  const TilePlace place = tilePlace(blockIdx.x, weightBlocks, rowBlocks);
  const int firstTile = place.weights * S::kWeightTiles, firstRow = place.rows * S::kRows;
  constexpr int kK = S::kK;
  const int steps = (k + kK - 1) / kK;

  auto copyWeights = [&](int step) {
    copyTile<kK, S::kWeightRows, S::kThreads>(ring + step % S::kStages * S::kStageElements, threadIdx.x, step * kK, k, weight, [&](int local) -> const T* {
      const int row = weightRow(out, firstTile, local);
      return row >= 0 ? weight + static_cast<int64_t>(row) * k : nullptr;
    });
  };
  auto copyActivations = [&](int step) {
    T* tile = ring + step % S::kStages * S::kStageElements + S::kWeightRows * kK;
    copyTile<kK, S::kRows, S::kThreads>(tile, threadIdx.x, step * kK, k, x, [&](int row) -> const T* { return firstRow + row < out.rows ? x + static_cast<int64_t>(firstRow + row) * k : nullptr; });
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
    const T* tile = ring + step % S::kStages * S::kStageElements;
    multiplyTiles<kK>(sums, tile + warpWeight * 16 * kK, tile + (S::kWeightRows + warpRow * 8) * kK);
    if ((step + 1) * kK < sliceEnd && step + 1 < steps) continue;
    sliceEnd += length;
#pragma unroll
    for (int m = 0; m < S::kWarpWeightTiles; m++) {
#pragma unroll
      for (int t = 0; t < S::kWarpRowTiles; t++) {
#pragma unroll
        for (int i = 0; i < 4; i++) totals[m][t][i] += sums[m][t][i], sums[m][t][i] = 0;
      }
    }
  }

  cpAsyncWait<0>();
  __syncthreads();
  float* const block = reinterpret_cast<float*>(shared);
  spreadSums(block + warpRow * 8 * S::kSumStride + warpWeight * 16, S::kSumStride, totals);
  __syncthreads();
  storeBlock<S::kWeightTiles, S::kThreads>(out, firstTile, firstRow, S::kRows, [&](int row, int local, float (&total)[4]) {
    const auto part = *reinterpret_cast<const float4*>(block + row * S::kSumStride + local);
    total[0] = part.x, total[1] = part.y, total[2] = part.z, total[3] = part.w;
  });
}

template <class S>
int weightBlocks(const LinearProblem& p) { return static_cast<int>(ceilDiv(p.n(), (p.gated ? 8 : 16) * S::kWeightTiles)); }
template <class S>
int rowBlocks(const LinearProblem& p) { return static_cast<int>(ceilDiv(p.rows(), S::kRows)); }

template <class T, class S>
cudaError_t launch(const LinearProblem& p, const Step& s) {
  const int weights = weightBlocks<S>(p), rows = rowBlocks<S>(p);
  const GpuLaunch l{p.gated ? "gatedLinearTiled" : "linearTiled", {static_cast<unsigned>(weights * rows)}, {S::kThreads}, S::kSharedBytes, s.stream};
  return gpuLaunch(l, linearTiled<T, S>, p.x.as<T>(), p.weight.as<T>(), makeOutput(p), p.k(), sliceLength(p.k()), weights, rows);
}

// Whether there is a block for each multiprocessor.
template <class S>
bool fills(const LinearProblem& p, const Step& s) { return static_cast<int64_t>(weightBlocks<S>(p)) * rowBlocks<S>(p) >= s.smCount; }

template <class T>
cudaError_t launchFor(const LinearProblem& p, const Step& s) {
  using Large = Shape<8, 16, 2, 4, 32, 4>;  // 128 x 128
  using Middle = Shape<4, 8, 2, 2, 32, 4>;  // 64 x 64
  using Small = Shape<2, 4, 2, 2, 64, 6>;   // 32 x 32
  if (fills<Large>(p, s)) return launch<T, Large>(p, s);
  return fills<Middle>(p, s) ? launch<T, Middle>(p, s) : launch<T, Small>(p, s);
}

}  // namespace

cudaError_t linearTiledLaunch(const LinearProblem& p, const Step& s) {
  return p.weight.dtype == DType::f16 ? launchFor<__half>(p, s) : launchFor<__nv_bfloat16>(p, s);
}

}  // namespace quire
