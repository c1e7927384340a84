// linear for more than 16 rows on tensor cores: tiles tall enough that x is read seldom, and K split over blocks where tiles alone
// do not fill the chip.
//
// A block owns 16 kWeightTiles rows of the weight, 8 kRowTiles rows of x and a part of K, and goes along it by kK with a ring of
// kStages tiles. Its warps divide the tile, and each stage's steps of 16 among kSlices. Sums of the slices are added in shared
// memory, in their order, and so are those of the parts where the chip has clusters: the parts of a tile are one, and each of its
// blocks adds its share of the rows out of the shared memory of all. Elsewhere they meet in the workspace, and the block that
// finishes a tile last adds them; partial sums cost traffic there, so that up to 64 rows tiles are low enough to fill the chip, and
// K is split for the narrowest weights alone. The first weights are requested before the kernel in front has finished: they do not
// depend on it.
//
// Measured on an H200 with cold caches, bf16, in microseconds, without clusters: gated 28672 x 4096 64.5 at 32 rows and 67.9 at 64
// (limit 55), 6144 x 4096 23.6 at 64 rows (12), where adding 5 parts cost as much as the weights. At 2048 rows 330 to 370 TFLOP/s of
// the 620 that mma.sync reaches there.
//
// x and weight are both f16 or both bf16, with rows of 16 bytes. The order of summation depends on the shape
// and on the number of rows.
#include "../lib/chip.h"
#include "../lib/cluster.h"
#include "../lib/crew.h"
#include "../lib/tile_order.h"
#include "tile.h"

namespace quire {
namespace {

template <int kWeightTiles_, int kRowTiles_, int kWeightWarps_, int kRowWarps_, int kSlices_, int kK_, int kStages_, int kBlocks_>
struct Shape {
  static constexpr int kWeightTiles = kWeightTiles_, kRowTiles = kRowTiles_, kWeightWarps = kWeightWarps_, kRowWarps = kRowWarps_, kSlices = kSlices_, kK = kK_, kStages = kStages_, kBlocks = kBlocks_;
  static constexpr int kThreads = 32 * kWeightWarps * kRowWarps * kSlices;
  // The part of one warp, in tiles and in steps of a stage.
  static constexpr int kWarpWeightTiles = kWeightTiles / kWeightWarps, kWarpRowTiles = kRowTiles / kRowWarps, kSteps = kK / 16 / kSlices;
  static constexpr int kRows = 8 * kRowTiles, kWeightRows = 16 * kWeightTiles;
  static constexpr int kStageElements = (kWeightRows + kRows) * kK;
  static constexpr int kSumStride = kWeightRows + 4;
  static constexpr int kRingBytes = kStages * kStageElements * 2, kSumBytes = kSlices * kRows * kSumStride * 4;
  static constexpr int kSharedBytes = kRingBytes > kSumBytes ? kRingBytes : kSumBytes;
};

// Parts of K, of at least four stages each, that make so many blocks.
int partCount(int tiles, int units, int blocks) {
  const int wanted = blocks / tiles, most = units / 4;
  return wanted < most ? (wanted > 1 ? wanted : 1) : (most > 1 ? most : 1);
}
// The largest power of two up to that, and up to a cluster.
int clusterOf(int parts) {
  int blocks = 1;
  while (2 * blocks <= parts && blocks < kMostClusterBlocks) blocks *= 2;
  return blocks;
}

// counters: null where the parts of a tile are a cluster.
template <class T, class S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) linearSplit(const T* x, const T* weight, LinearOutput out, int k, int weightBlocks, int rowBlocks, int parts, float* partials, unsigned* counters) {
  DYN_SHARED(char, shared);
  SHARED(bool, isLast, 1);
  T* const ring = reinterpret_cast<T*>(shared);
  const int warp = threadIdx.x / 32, warpWeight = warp % S::kWeightWarps * S::kWarpWeightTiles;
  const int warpRow = warp / S::kWeightWarps % S::kRowWarps * S::kWarpRowTiles, slice = warp / (S::kWeightWarps * S::kRowWarps);
  const int tile = blockIdx.x / parts, part = blockIdx.x % parts;
  const TilePlace place = tilePlace(tile, weightBlocks, rowBlocks);
  const int firstTile = place.weights * S::kWeightTiles, firstRow = place.rows * S::kRows;
  const int units = (k + S::kK - 1) / S::kK, begin = part * units / parts, steps = (part + 1) * units / parts - begin;

  auto copyWeights = [&](int step) {
    copyTile<S::kK, S::kWeightRows, S::kThreads>(ring + step % S::kStages * S::kStageElements, threadIdx.x, (begin + step) * S::kK, k, weight, [&](int local) -> const T* {
      const int row = weightRow(out, firstTile, local);
      return row >= 0 ? weight + static_cast<int64_t>(row) * k : nullptr;
    });
  };
  auto copyActivations = [&](int step) {
    T* to = ring + step % S::kStages * S::kStageElements + S::kWeightRows * S::kK;
    copyTile<S::kK, S::kRows, S::kThreads>(to, threadIdx.x, (begin + step) * S::kK, k, x, [&](int row) -> const T* { return firstRow + row < out.rows ? x + static_cast<int64_t>(firstRow + row) * k : nullptr; });
  };

  for (int step = 0; step < S::kStages - 1 && step < steps; step++) copyWeights(step);
  launchDependents();
  waitForPrevious();
  for (int step = 0; step < S::kStages - 1; step++) {
    if (step < steps) copyActivations(step);
    cpAsyncCommit();
  }
  float sums[S::kWarpWeightTiles][S::kWarpRowTiles][4] = {};
  for (int step = 0; step < steps; step++) {
    cpAsyncWait<S::kStages - 2>();
    __syncthreads();  // all copies of this stage have landed, and all warps have used the stage that is filled next
    if (const int next = step + S::kStages - 1; next < steps) copyWeights(next), copyActivations(next);
    cpAsyncCommit();
    const T* stage = ring + step % S::kStages * S::kStageElements;
    multiplySteps<S::kK, S::kSteps>(sums, stage + warpWeight * 16 * S::kK, stage + (S::kWeightRows + warpRow * 8) * S::kK, slice * S::kSteps);
  }
  cpAsyncWait<0>();
  __syncthreads();
  float* const block = reinterpret_cast<float*>(shared);
  spreadSums(block + (slice * S::kRows + warpRow * 8) * S::kSumStride + warpWeight * 16, S::kSumStride, sums);
  __syncthreads();
  auto addSlices = [&](int row, int local, float (&total)[4]) {
    total[0] = total[1] = total[2] = total[3] = 0.0f;
#pragma unroll
    for (int s = 0; s < S::kSlices; s++) {
      const auto one = *reinterpret_cast<const float4*>(block + (s * S::kRows + row) * S::kSumStride + local);
      total[0] += one.x, total[1] += one.y, total[2] += one.z, total[3] += one.w;
    }
  };
  if (parts == 1) {
    storeBlock<S::kWeightTiles, S::kThreads>(out, firstTile, firstRow, S::kRows, addSlices);
    return;
  }
  // A thread has the same quads in every part: what it wrote, it adds up.
  constexpr int kQuads = S::kWeightRows / 4, kOwn = S::kRows * kQuads / S::kThreads;
  const int rows = out.rows - firstRow < S::kRows ? out.rows - firstRow : S::kRows;
  auto* const quads = reinterpret_cast<float4*>(partials) + threadIdx.x;
  auto rowOf = [&](int i) { return (i * S::kThreads + static_cast<int>(threadIdx.x)) / kQuads; };
  auto isWithin = [&](int i) { return rowOf(i) < rows; };
  const int local = threadIdx.x % kQuads * 4;
  if (counters == nullptr) {
#pragma unroll
    for (int i = 0; S::kSlices > 1 && i < kOwn; i++) {
      float total[4];
      addSlices(rowOf(i), local, total);
      *reinterpret_cast<float4*>(block + rowOf(i) * S::kSumStride + local) = {total[0], total[1], total[2], total[3]};
    }
    CLUSTER_BARRIER();
    const int share = (rows + parts - 1) / parts, first = part * share, own = rows - first < share ? rows - first : share;
    storeBlock<S::kWeightTiles, S::kThreads>(out, firstTile, firstRow + first, own, [&](int row, int at, float (&total)[4]) {
      float4 one[kMostClusterBlocks];
#pragma unroll
      for (int from = 0; from < kMostClusterBlocks; from++) {
        if (from < parts) one[from] = CLUSTER_LOAD(reinterpret_cast<const float4*>(block + (first + row) * S::kSumStride + at), from);
      }
      total[0] = one[0].x, total[1] = one[0].y, total[2] = one[0].z, total[3] = one[0].w;
#pragma unroll
      for (int from = 1; from < kMostClusterBlocks; from++) {
        if (from < parts) total[0] += one[from].x, total[1] += one[from].y, total[2] += one[from].z, total[3] += one[from].w;
      }
    });
    CLUSTER_BARRIER();
    return;
  }
#pragma unroll
  for (int i = 0; i < kOwn; i++) {
    float total[4];
    addSlices(rowOf(i), local, total);
    if (isWithin(i)) quads[(static_cast<int64_t>(blockIdx.x) * kOwn + i) * S::kThreads] = {total[0], total[1], total[2], total[3]};
  }
  if (!arriveLast(counters + tile, parts, isLast)) return;
  // So many loads at once: one after the other their latency would be the kernel's time.
  constexpr int kAtOnce = kOwn < 8 ? kOwn : 8;
#pragma unroll 1
  for (int first = 0; first < kOwn; first += kAtOnce) {
    float4 totals[kAtOnce] = {};
    for (int from = 0; from < parts; from++) {
      float4 one[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) one[i] = isWithin(first + i) ? quads[((static_cast<int64_t>(tile) * parts + from) * kOwn + first + i) * S::kThreads] : float4{0, 0, 0, 0};
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) totals[i].x += one[i].x, totals[i].y += one[i].y, totals[i].z += one[i].z, totals[i].w += one[i].w;
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; i++) *reinterpret_cast<float4*>(block + rowOf(first + i) * S::kSumStride + local) = totals[i];
  }
  __syncthreads();
  storeBlock<S::kWeightTiles, S::kThreads>(out, firstTile, firstRow, rows, [&](int row, int at, float (&total)[4]) {
    const auto one = *reinterpret_cast<const float4*>(block + row * S::kSumStride + at);
    total[0] = one.x, total[1] = one.y, total[2] = one.z, total[3] = one.w;
  });
}

// As many blocks as an H100 has at once, and as an A100 has multiprocessors.
constexpr int kManyBlocks = 264, kFewBlocks = 108;

template <class T, class S>
cudaError_t launch(const LinearProblem& p, const Step& s, bool clusters, int blocks = kManyBlocks) {
  const int weightBlocks = static_cast<int>(ceilDiv(p.n(), (p.gated ? 8 : 16) * S::kWeightTiles)), rowBlocks = static_cast<int>(ceilDiv(p.rows(), S::kRows));
  const int tiles = weightBlocks * rowBlocks, most = partCount(tiles, static_cast<int>(ceilDiv(p.k(), S::kK)), blocks);
  const int parts = clusters ? clusterOf(most) : most;
  const GpuLaunch l{p.gated ? "gatedLinearSplit" : "linearSplit", {static_cast<unsigned>(tiles * parts)}, {S::kThreads}, S::kSharedBytes, s.stream};
  auto* const kernel = linearSplit<T, S>;
  if (clusters && parts > 1) return gpuLaunchInClusters(l, parts, kernel, p.x.as<T>(), p.weight.as<T>(), makeOutput(p), p.k(), weightBlocks, rowBlocks, parts, nullptr, nullptr);
  return gpuLaunch(l, kernel, p.x.as<T>(), p.weight.as<T>(), makeOutput(p), p.k(), weightBlocks, rowBlocks, parts, s.workspace.scratch<float>(), s.workspace.counters());
}

// A multiprocessor holds as many blocks as the kernel is compiled for.
template <class S>
bool isHeld() { return S::kBlocks * (S::kSharedBytes + kBlockReserve) <= sharedBytesPerSm(); }

// High tiles, in clusters, where the chip has them and room for their rings; else low ones.
template <class T, class High, class Low>
cudaError_t launchFewRows(const LinearProblem& p, const Step& s) {
  return hasClusters() && isHeld<High>() ? launch<T, High>(p, s, true) : launch<T, Low>(p, s, false, kFewBlocks);
}

template <class T>
cudaError_t launchFor(const LinearProblem& p, const Step& s) {
  if (p.rows() <= 32) return launchFewRows<T, Shape<8, 4, 4, 1, 2, 64, 5, 2>, Shape<4, 4, 2, 1, 4, 64, 6, 2>>(p, s);
  if (p.rows() <= 64) return launchFewRows<T, Shape<8, 8, 4, 1, 2, 64, 4, 2>, Shape<4, 8, 2, 1, 4, 64, 5, 2>>(p, s);
  using Deep = Shape<8, 16, 2, 2, 1, 64, 3, 2>;
  using Shallow = Shape<8, 16, 2, 2, 1, 32, 4, 2>;
  return isHeld<Deep>() ? launch<T, Deep>(p, s, hasClusters()) : launch<T, Shallow>(p, s, hasClusters());
}

}  // namespace

cudaError_t linearSplitLaunch(const LinearProblem& p, const Step& s) {
  return p.weight.dtype == DType::f16 ? launchFor<__half>(p, s) : launchFor<__nv_bfloat16>(p, s);
}

}  // namespace quire
