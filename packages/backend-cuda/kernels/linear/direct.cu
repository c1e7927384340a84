// linear for up to 16 rows on tensor cores, without shared memory on the way: weights and activations go from memory straight
// into the registers of the product.
//
// An element of K may stand anywhere in a step of the product as long as weight and x agree. So lane l reads 16 bytes of weight
// row l / 4 and of row l / 4 + 8, and 16 bytes of row l / 4 of x, all from the same place in K, and the halves of these are the
// operands of two instructions. A chunk is 64 elements of K, 128 bytes of each row. The 8 warps of a block share its weight rows
// and take chunks in turn; each has kDepth chunks on their way. Their sums are added in the order of the warps. The first
// weights are requested before the kernel in front has finished: they do not depend on it.
//
// x and weight are both f16 or both bf16, with rows of 16 bytes. The order of summation depends on K alone.
#include "tile.h"

namespace quire {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;
constexpr int kChunk = 64;

template <int kWeightTiles_, int kRowTiles_, int kDepth_, int kBlocks_>
struct Shape {
  static constexpr int kWeightTiles = kWeightTiles_, kRowTiles = kRowTiles_, kDepth = kDepth_, kBlocks = kBlocks_;
  static constexpr int kRows = 8 * kRowTiles, kSumStride = 16 * kWeightTiles + 4;
};

// What a lane holds of one chunk: [tile][row l / 4 or l / 4 + 8][half of the chunk].
template <class S>
struct Chunk {
  uint4 weights[S::kWeightTiles][2][2];
  uint4 x[S::kRowTiles][2];
};

__device__ __forceinline__ uint4 loadOr0(const uint4* pointer, bool valid) { return valid ? GPU_LOAD(pointer) : uint4{0, 0, 0, 0}; }

template <class T, class S>
__device__ __forceinline__ void multiply(float (&sums)[S::kWeightTiles][S::kRowTiles][4], const Chunk<S>& c) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
#pragma unroll
    for (int m = 0; m < S::kWeightTiles; m++) {
      const uint4 upper = c.weights[m][0][half], lower = c.weights[m][1][half];
      const uint32_t a[2][4] = {{upper.x, lower.x, upper.y, lower.y}, {upper.z, lower.z, upper.w, lower.w}};
#pragma unroll
      for (int t = 0; t < S::kRowTiles; t++) {
        const uint4 v = c.x[t][half];
        const uint32_t b[2][2] = {{v.x, v.y}, {v.z, v.w}};
        mma16816<T>(sums[m][t], a[0], b[0]);
        mma16816<T>(sums[m][t], a[1], b[1]);
      }
    }
  }
}

template <class T, class S>
__global__ void __launch_bounds__(kThreads, S::kBlocks) linearDirect(const T* x, const T* weight, LinearOutput out, int k, int tiles) {
  constexpr int kGroup = S::kDepth * kWarps * kChunk;
  SHARED(float, partial, 2 * kWarps * S::kRows * S::kSumStride);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int firstRow = blockIdx.y * S::kRows, column = warp * kChunk + lane % 4 * 8;

  Chunk<S> chunks[S::kDepth];
  // The chunk at place d of the group from column `from` on.
  auto loadWeights = [&](int d, int tile, int from) {
    const int at = column + from + d * kWarps * kChunk;
#pragma unroll
    for (int m = 0; m < S::kWeightTiles; m++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int row = tile < tiles ? weightRow(out, tile * S::kWeightTiles, 16 * m + 8 * h + lane / 4) : -1;
        const T* start = weight + static_cast<int64_t>(row) * k + at;
#pragma unroll
        for (int half = 0; half < 2; half++) chunks[d].weights[m][h][half] = GPU_LOAD_STREAMED(reinterpret_cast<const uint4*>(start + 32 * half), row >= 0 && at + 32 * half < k);
      }
    }
  };
  auto loadActivations = [&](int d, int from) {
    const int at = column + from + d * kWarps * kChunk;
#pragma unroll
    for (int t = 0; t < S::kRowTiles; t++) {
      const int row = firstRow + 8 * t + lane / 4;
      const T* start = x + static_cast<int64_t>(row) * k + at;
#pragma unroll
      for (int half = 0; half < 2; half++) chunks[d].x[t][half] = loadOr0(reinterpret_cast<const uint4*>(start + 32 * half), row < out.rows && at + 32 * half < k);
    }
  };
#pragma unroll
  for (int d = 0; d < S::kDepth; d++) loadWeights(d, blockIdx.x, 0);
  launchDependents();
  waitForPrevious();
#pragma unroll
  for (int d = 0; d < S::kDepth; d++) loadActivations(d, 0);

  float* sharedSums = partial;
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    float sums[S::kWeightTiles][S::kRowTiles][4] = {};
    for (int from = 0; from < k; from += kGroup) {
      const bool goesOn = from + kGroup < k;
      const int nextTile = goesOn ? tile : tile + static_cast<int>(gridDim.x), next = goesOn ? from + kGroup : 0;
#pragma unroll
      for (int d = 0; d < S::kDepth; d++) {
        multiply<T, S>(sums, chunks[d]);
        loadWeights(d, nextTile, next), loadActivations(d, next);
      }
    }
    spreadSums(sharedSums + warp * S::kRows * S::kSumStride, S::kSumStride, sums);
    __syncthreads();
    storeBlock<S::kWeightTiles, kThreads>(out, tile * S::kWeightTiles, firstRow, S::kRows, [&](int row, int local, float (&total)[4]) {
      total[0] = total[1] = total[2] = total[3] = 0.0f;
#pragma unroll
      for (int w = 0; w < kWarps; w++) {
        const auto part = *reinterpret_cast<const float4*>(sharedSums + (w * S::kRows + row) * S::kSumStride + local);
        total[0] += part.x, total[1] += part.y, total[2] += part.z, total[3] += part.w;
      }
    });
    // The other half: who is late with this tile has passed the next one's barrier before this half is written again.
    sharedSums = sharedSums == partial ? partial + kWarps * S::kRows * S::kSumStride : partial;
  }
}

template <class T, class S>
cudaError_t launch(const LinearProblem& p, const Step& s) {
  const unsigned tiles = ceilDiv(p.n(), (p.gated ? 8 : 16) * S::kWeightTiles), most = S::kBlocks * s.smCount;
  const GpuLaunch l{p.gated ? "gatedLinearDirect" : "linearDirect", {tiles < most ? tiles : most, ceilDiv(p.rows(), S::kRows)}, {kThreads}, 0, s.stream};
  return gpuLaunch(l, linearDirect<T, S>, p.x.as<T>(), p.weight.as<T>(), makeOutput(p), p.k(), static_cast<int>(tiles));
}

template <class T>
cudaError_t launchFor(const LinearProblem& p, const Step& s) {
  return p.rows() <= 8 ? launch<T, Shape<1, 1, 4, 2>>(p, s) : launch<T, Shape<2, 2, 2, 2>>(p, s);
}

}  // namespace

cudaError_t linearDirectLaunch(const LinearProblem& p, const Step& s) {
  return p.weight.dtype == DType::f16 ? launchFor<__half>(p, s) : launchFor<__nv_bfloat16>(p, s);
}

}  // namespace quire
