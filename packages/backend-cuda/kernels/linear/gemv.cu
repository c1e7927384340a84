// linear for few rows, in f32: weights stream once through registers, activations lie in shared memory as f32.
//
// A lane reads 16 bytes of each of its warp's 4 rows of the weight at a time, the next sets before it uses these: 8 loads in flight
// (12 at 4 rows of x, of which an SM has one block, and 4 at 8). Narrow outputs split K across the warps of a block, so that the
// chip is full; slices interleave, and are added in their order. The first weights are read before the kernel in front has
// finished: they do not depend on it.
//
// Rows of x beyond 8 are further blocks. The order of summation depends on N and K alone. Structure after calm's matrix
// times vector kernel (github.com/zeux/calm, src/infer.cu).
#include "gemv.h"
#include "normed.h"

namespace quire {
namespace {

using namespace gemv;

// Sets of 16 bytes of each weight row that a lane reads at once.
template <int kRows>
constexpr int kUnroll = kRows <= 2 ? 2 : kRows <= 4 ? 3 : 1;

template <class W, int kRows>
struct Gemv {
  static constexpr int kPack = 16 / sizeof(W);
  // x in shared memory: per row kPlanes planes of 4 floats per pack, so that neighbouring lanes read neighbouring 16 bytes.
  static constexpr int kPlanes = kPack / 4;
  uint4 weights[kUnroll<kRows>][kColumns];
  float sums[kRows * kColumns] = {};

  // The weights of this lane's packs from `pack` on, `stride` packs apart; rows[c] is null beyond the last column.
  __device__ __forceinline__ void load(const W* const (&rows)[kColumns], int pack, int stride, int packs) {
#pragma unroll
    for (int u = 0; u < kUnroll<kRows>; u++) {
#pragma unroll
      for (int c = 0; c < kColumns; c++) {
        const int at = pack + u * stride;
        weights[u][c] = GPU_LOAD_STREAMED(reinterpret_cast<const uint4*>(rows[c]) + at, rows[c] != nullptr && at < packs);
      }
    }
  }
  // Adds the products of one pack. `x` points to the pack in the first plane of the first row.
  __device__ __forceinline__ void multiply(const uint4 (&now)[kColumns], const float4* x, int packsPerPlane) {
    Pack<W> values[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; c++) __builtin_memcpy(&values[c], &now[c], 16);
#pragma unroll
    for (int h = 0; h < kPlanes; h++) {
#pragma unroll
      for (int r = 0; r < kRows; r++) {
        const float4 f = x[(r * kPlanes + h) * packsPerPlane];
#pragma unroll
        for (int c = 0; c < kColumns; c++) {
          float& sum = sums[r * kColumns + c];
          sum += f.x * toFloat(values[c].values[4 * h]);
          sum += f.y * toFloat(values[c].values[4 * h + 1]);
          sum += f.z * toFloat(values[c].values[4 * h + 2]);
          sum += f.w * toFloat(values[c].values[4 * h + 3]);
        }
      }
    }
  }
};

// The norm of element i of a row, rounded to the dtype of x, as the norm's own kernel stores it.
template <class T>
__device__ __forceinline__ float normedElement(const RowNorm& norm, const NormStats& stats, T x, int i) {
  const float bias = norm.bias == nullptr ? 0.0f : loadElement(norm.bias, norm.dtype, i);
  return toFloat(fromFloat<T>(normed(norm, toFloat(x), stats, loadElement(norm.weight, norm.dtype, i), bias)));
}

template <class W, int kRows>
__global__ void __launch_bounds__(kThreads, kRows <= 2 ? 2 : 1) linearGemv(const void* x, DType xDType, const W* weight, LinearOutput out, int k, int slices, int chunk, RowNorm norm) {
  using G = Gemv<W, kRows>;
  constexpr int kSteps = kUnroll<kRows>;
  DYN_SHARED(float4, activations);
  SHARED(float, partial, kWarps * kRows * kColumns);
  SHARED(float, rowSums, kRows * kSumsOfRow);
  SHARED(NormStats, stats, kRows);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = warp / slices, slice = warp % slices;
  const Place place(out, slices, kRows);

  const W* rows[kColumns];
#pragma unroll
  for (int c = 0; c < kColumns; c++) {
    const int row = place.weightRow(out, group, c);
    rows[c] = row >= 0 ? weight + static_cast<int64_t>(row) * k : nullptr;
  }
  const int packs = k / G::kPack, stride = 32 * slices, chunkPacks = chunk / G::kPack;
  G gemv;
  gemv.load(rows, slice * 32 + lane, stride, packs);
  waitForPrevious();
  // Rows of x beyond 8 have no norm here.
  if (norm.weight != nullptr) {
    withElement(xDType, [&](auto* t) {
      using T = Element<decltype(t)>;
      auto read = [&](int row, int pack) { return GPU_LOAD(reinterpret_cast<const Pack<T>*>(static_cast<const T*>(x) + static_cast<int64_t>(row) * k) + pack); };
      findStats<kWarps, T>(norm, out.rows, k, stats, rowSums, read, read);
    });
  }
  for (int first = 0; first < packs; first += kSteps * stride) {
    if (first % chunkPacks == 0) {
      __syncthreads();
      stage<G::kPack, kRows, false>(activations, x, xDType, place.row0, out.rows, first * G::kPack, k, chunkPacks,
                                    [&](auto element, int row, int i) { return norm.weight == nullptr ? toFloat(element) : normedElement(norm, stats[row], element, i); });
      __syncthreads();
    }
    uint4 now[kSteps][kColumns];
#pragma unroll
    for (int u = 0; u < kSteps; u++) {
#pragma unroll
      for (int c = 0; c < kColumns; c++) now[u][c] = gemv.weights[u][c];
    }
    const int pack = first + slice * 32 + lane;
    gemv.load(rows, pack + kSteps * stride, stride, packs);
#pragma unroll
    for (int u = 0; u < kSteps; u++) {
      const int at = pack + u * stride;
      if (at < packs) gemv.multiply(now[u], activations + at % chunkPacks, chunkPacks);
    }
  }
  launchDependents();

  storeSums<kRows>(out, place, partial, gemv.sums, [](int, float sum) { return sum; });
}

template <class W, int kRows>
cudaError_t launch(const LinearProblem& p, const RowNorm& norm, const Step& s) {
  constexpr int kPack = Gemv<W, kRows>::kPack;
  const int slices = sliceCount(p.weight.rows, p.k(), kPack, kWarps), chunk = chunkOf<kRows>(p.k(), 32 * kPack * slices * kUnroll<kRows>);
  const GpuLaunch l = launchOf(p.gated ? "gatedLinearGemv" : "linearGemv", p, s, slices, chunk, kRows);
  return gpuLaunch(l, linearGemv<W, kRows>, p.x.data, p.x.dtype, p.weight.as<W>(), makeOutput(p), p.k(), slices, chunk, norm);
}

}  // namespace

cudaError_t linearGemvLaunch(const LinearProblem& p, const RowNorm& norm, const Step& s) {
  return withDType(p.weight.dtype, [&](auto* w) {
    using W = Element<decltype(w)>;
    if (p.rows() == 1) return launch<W, 1>(p, norm, s);
    if (p.rows() == 2) return launch<W, 2>(p, norm, s);
    return p.rows() <= 4 ? launch<W, 4>(p, norm, s) : launch<W, 8>(p, norm, s);
  });
}

cudaError_t linearGemvLaunch(const LinearProblem& p, const Step& s) { return linearGemvLaunch(p, RowNorm{}, s); }

}  // namespace quire
