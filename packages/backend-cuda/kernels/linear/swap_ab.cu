// linear for few rows on tensor cores: weights stream once through shared memory, straight from their row-major layout.
//
// A block owns 16 kWeightTiles rows of the weight and up to 8 kRowTiles rows of x; its 8 warps own a slice of K each, with a
// ring of kStages tiles of their own that no other warp waits for, and their sums are added in the order of the slices. A ring is
// full from the start, and a tile is asked for as soon as its place is free. The first weights are requested before the kernel in
// front has finished, as they do not depend on it; the one behind may do the same from then on.
//
// Measured on an H200 with cold caches, bf16, one row, in microseconds, the limit at 4.3 TB/s in brackets: 6144 x 4096 12.4
// (11.7), 4096 x 4096 8.5 (7.8), gated 28672 x 4096 55.4 (54.6), 4096 x 14336 29.5 (27.3), 128256 x 4096 235 (244), 151936 x 1024
// 73 (73), 4096 x 1024 3.2 (2.0), 1024 x 2048 2.6 (1.0), gated 6144 x 1024 4.3 (2.9), 1024 x 3072 2.9 (1.5); 16 rows cost 2 to 20 %
// more.
//
// x and weight are both f16 or both bf16, with rows of 16 bytes. Structure after Marlin (github.com/IST-DASLab/marlin): several
// warps on one output tile, K split between them; operands swapped, so that 8 rows of x fill an instruction.
#include "../lib/chip.h"
#include "tile.h"

namespace quire {
namespace {

constexpr int kWarps = kSlices;
constexpr int kThreads = 32 * kWarps;

template <int kRowTiles_, int kWeightTiles_, int kK_, int kStages_>
struct Shape {
  static constexpr int kRowTiles = kRowTiles_, kWeightTiles = kWeightTiles_, kK = kK_, kStages = kStages_;
  static constexpr int kRows = 8 * kRowTiles, kWeightRows = 16 * kWeightTiles;
  static constexpr int kStageElements = (kWeightRows + kRows) * kK;
  // Sums of a warp, [rows][weight rows], in the memory of its ring when that has been used up.
  static constexpr int kSumStride = kWeightRows + 4;
  static constexpr int kRingBytes = kStages * kStageElements * 2, kSumBytes = kRows * kSumStride * 4;
  static constexpr int kWarpBytes = kRingBytes > kSumBytes ? kRingBytes : kSumBytes;
};

template <class T, class S>
__global__ void __launch_bounds__(kThreads, 1) linearSwapAb(const T* x, const T* weight, LinearOutput out, int k, int length) {
  DYN_SHARED(char, shared);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int firstTile = blockIdx.x * S::kWeightTiles;
  T* const ring = reinterpret_cast<T*>(shared + warp * S::kWarpBytes);
  const int begin = warp * length, end = begin + length < k ? begin + length : k;
  const int steps = end > begin ? (end - begin + S::kK - 1) / S::kK : 0;

  auto copyWeights = [&](int step) {
    copyTile<S::kK, S::kWeightRows, 32>(ring + step % S::kStages * S::kStageElements, lane, begin + step * S::kK, k, weight, [&](int local) -> const T* {
      const int row = weightRow(out, firstTile, local);
      return row >= 0 ? weight + static_cast<int64_t>(row) * k : nullptr;
    });
  };
  auto copyActivations = [&](int step) {
    T* tile = ring + step % S::kStages * S::kStageElements + S::kWeightRows * S::kK;
    copyTile<S::kK, S::kRows, 32>(tile, lane, begin + step * S::kK, k, x, [&](int row) -> const T* { return row < out.rows ? x + static_cast<int64_t>(row) * k : nullptr; });
  };

  for (int step = 0; step < S::kStages && step < steps; step++) copyWeights(step);
  launchDependents();
  waitForPrevious();
  for (int step = 0; step < S::kStages; step++) {
    if (step < steps) copyActivations(step);
    cpAsyncCommit();
  }
  float sums[S::kWeightTiles][S::kRowTiles][4] = {};
  for (int step = 0; step < steps; step++) {
    cpAsyncWait<S::kStages - 1>();
    __syncwarp();  // all lanes' copies of this stage have landed
    const T* tile = ring + step % S::kStages * S::kStageElements;
    multiplyTiles<S::kK>(sums, tile, tile + S::kWeightRows * S::kK);
    __syncwarp();  // all have used it
    if (const int next = step + S::kStages; next < steps) copyWeights(next), copyActivations(next);
    cpAsyncCommit();
  }

  cpAsyncWait<0>();
  __syncwarp();
  spreadSums(reinterpret_cast<float*>(ring), S::kSumStride, sums);
  __syncthreads();
  const int slices = (k + length - 1) / length;
  storeBlock<S::kWeightTiles, kThreads>(out, firstTile, 0, S::kRows, [&](int row, int local, float (&total)[4]) {
    addSlices(total, shared + (row * S::kSumStride + local) * 4, S::kWarpBytes, slices);
  });
}

template <class T, class S>
cudaError_t launch(const LinearProblem& p, const Step& s) {
  const unsigned blocks = ceilDiv(p.n(), (p.gated ? 8 : 16) * S::kWeightTiles);
  const GpuLaunch l{p.gated ? "gatedLinearSwapAb" : "linearSwapAb", {blocks}, {kThreads}, kWarps * S::kWarpBytes, s.stream};
  return gpuLaunch(l, linearSwapAb<T, S>, p.x.as<T>(), p.weight.as<T>(), makeOutput(p), p.k(), sliceLength(p.k()));
}

// The deepest ring that leaves room for as many blocks as the chip gets at once. Measured on an H200: a chip that is not full is
// fastest with all of a slice on its way, and with one block per multiprocessor.
template <class T>
cudaError_t launchFor8Rows(const LinearProblem& p, const Step& s, int blocksPerSm) {
  if (blocksPerSm == 1) return launch<T, Shape<1, 1, 64, 6>>(p, s);
  if (sliceLength(p.k()) <= 2 * 64) return blocksPerSm == 2 ? launch<T, Shape<1, 1, 64, 3>>(p, s) : launch<T, Shape<1, 1, 64, 2>>(p, s);
  return blocksPerSm == 2 ? launch<T, Shape<1, 1, 64, 4>>(p, s) : launch<T, Shape<1, 1, 64, 3>>(p, s);
}
template <class T>
cudaError_t launchFor16Rows(const LinearProblem& p, const Step& s, int blocksPerSm) {
  if (blocksPerSm == 1) return launch<T, Shape<2, 1, 64, 5>>(p, s);
  return blocksPerSm == 2 && sliceLength(p.k()) > 2 * 64 ? launch<T, Shape<2, 1, 64, 3>>(p, s) : launch<T, Shape<2, 2, 64, 2>>(p, s);
}

// Tall tiles read x less often, low ones make more blocks: tall where they fill the chip. The sums are the same.
template <class T>
cudaError_t launchFor(const LinearProblem& p, const Step& s) {
  const int tiles = static_cast<int>(ceilDiv(p.weight.rows, 16));
  const int blocksPerSm = static_cast<int>(ceilDiv(tiles, s.smCount));
  if (p.rows() <= 8) return launchFor8Rows<T>(p, s, blocksPerSm);
  if (p.rows() <= 16) return launchFor16Rows<T>(p, s, blocksPerSm);
  if (p.rows() <= 32) return tiles / 2 >= s.smCount ? launch<T, Shape<4, 2, 32, 4>>(p, s) : launch<T, Shape<4, 1, 32, 4>>(p, s);
  if (tiles / 4 >= s.smCount) return launch<T, Shape<8, 4, 32, 2>>(p, s);
  // As many weights on their way as the chip has room for.
  using Deep = Shape<8, 1, 32, 5>;
  return kWarps * Deep::kWarpBytes <= sharedBytesPerBlock() ? launch<T, Deep>(p, s) : launch<T, Shape<8, 1, 32, 3>>(p, s);
}

}  // namespace

cudaError_t linearSwapAbLaunch(const LinearProblem& p, const Step& s) {
  return p.weight.dtype == DType::f16 ? launchFor<__half>(p, s) : launchFor<__nv_bfloat16>(p, s);
}

}  // namespace quire
