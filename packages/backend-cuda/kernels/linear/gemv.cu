// linear for few rows, in f32: weights stream once through registers, activations lie in shared memory as f32.
//
// A warp owns 4 rows of the weight (gated: 2 of gates and the 2 of their ups) and one of up to 8 slices of K; a block is 8
// warps. A lane reads 16 bytes of each weight row at a time, the next set before it uses this one: 8 loads in flight (4 at 8
// rows of x). Narrow outputs split K across the warps of a block, so that the chip is full; slices interleave, and are
// added in their order. The first weights are read before the kernel in front has finished: they do not depend on it.
//
// Rows of x beyond 8 are further blocks. The order of summation depends on N and K alone. Structure after calm's matrix
// times vector kernel (github.com/zeux/calm, src/infer.cu).
#include "normed.h"
#include "output.h"

namespace quire {
namespace {

constexpr int kColumns = 4;
constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
// Enough warps to keep any chip's memory busy.
constexpr int kEnoughWarps = 4096;

// Floats of each row of x in shared memory at a time. A multiple of what all slices take in one set of loads.
template <int kRows>
constexpr int kChunk = kRows <= 2 ? 8192 : 4096;
// Sets of 16 bytes of each weight row that a lane reads at once.
template <int kRows>
constexpr int kUnroll = kRows <= 4 ? 2 : 1;

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

// Brings `packs` packs of kRows rows of x from element k0 on into shared memory, normed where there is a norm; what lies outside of
// x becomes 0.
template <int kPack, int kRows>
__device__ __forceinline__ void stage(float4* to, const void* x, DType dtype, int row0, int rows, int k0, int k, int packs, const RowNorm& norm, const NormStats* stats) {
  constexpr int kPlanes = kPack / 4;
  withElement(dtype, [&](auto* t) {
    using T = Element<decltype(t)>;
    for (int i = threadIdx.x; i < kRows * packs * kPlanes; i += kThreads) {
      const int r = i / (packs * kPlanes), quad = i % (packs * kPlanes), at = k0 + 4 * quad;
      float4 f{0, 0, 0, 0};
      if (row0 + r < rows && at < k) {
        const auto q = *reinterpret_cast<const Quad<T>*>(static_cast<const T*>(x) + static_cast<int64_t>(row0 + r) * k + at);
        f = {toFloat(q.values[0]), toFloat(q.values[1]), toFloat(q.values[2]), toFloat(q.values[3])};
        if (norm.weight != nullptr) {
          const NormStats& s = stats[r];
          f = {normedElement(norm, s, q.values[0], at), normedElement(norm, s, q.values[1], at + 1), normedElement(norm, s, q.values[2], at + 2), normedElement(norm, s, q.values[3], at + 3)};
        }
      }
      to[(r * kPlanes + quad % kPlanes) * packs + quad / kPlanes] = f;
    }
  });
}

template <class W, int kRows>
__global__ void __launch_bounds__(kThreads, kRows <= 2 ? 2 : 1) linearGemv(const void* x, DType xDType, const W* weight, LinearOutput out, int k, int slices, int chunk, RowNorm norm) {
  using G = Gemv<W, kRows>;
  constexpr int kSums = kRows * kColumns, kSteps = kUnroll<kRows>;
  DYN_SHARED(float4, activations);
  SHARED(float, partial, kWarps * kSums);
  SHARED(float, rowSums, kRows * kSumsOfRow);
  SHARED(NormStats, stats, kRows);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int groups = kWarps / slices, group = warp / slices, slice = warp % slices;
  const int columns = out.gated ? kColumns / 2 : kColumns;
  const int firstColumn = blockIdx.x * groups * columns, row0 = blockIdx.y * kRows;

  const W* rows[kColumns];
#pragma unroll
  for (int c = 0; c < kColumns; c++) {
    const int column = firstColumn + group * columns + c % columns;
    rows[c] = column < out.n ? weight + static_cast<int64_t>(column + c / columns * out.n) * k : nullptr;
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
      stage<G::kPack, kRows>(activations, x, xDType, row0, out.rows, first * G::kPack, k, chunkPacks, norm, stats);
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

  const float sum = warpSums<kSums>(gemv.sums);
  if (lane % (32 / kSums) == 0) partial[warp * kSums + lane / (32 / kSums)] = sum;
  __syncthreads();
  const int width = groups * columns;
#pragma unroll 1
  for (int i = threadIdx.x; i < width * kRows; i += kThreads) {
    const int r = i / width, c = i % width;
    if (row0 + r >= out.rows || firstColumn + c >= out.n) continue;
    const float* at = partial + c / columns * slices * kSums + r * kColumns + c % columns;
    float sums[1] = {0}, ups[1] = {0};
#pragma unroll 1
    for (int s = 0; s < slices; s++) {
      sums[0] += at[s * kSums];
      if (out.gated) ups[0] += at[s * kSums + columns];
    }
    storeOutput(out, row0 + r, firstColumn + c, sums, ups);
  }
}

// The least number of slices, up to one per warp, that makes enough warps and leaves every lane a pack.
int sliceCount(int weightRows, int k, int pack) {
  int slices = 1;
  while (slices < kWarps && weightRows / kColumns * slices < kEnoughWarps && k >= 2 * slices * 32 * pack) slices *= 2;
  return slices;
}

template <class W, int kRows>
cudaError_t launch(const LinearProblem& p, const RowNorm& norm, const Step& s) {
  constexpr int kPack = Gemv<W, kRows>::kPack;
  const int slices = sliceCount(p.weight.rows, p.k(), kPack), set = 32 * kPack * slices * kUnroll<kRows>;
  const int whole = static_cast<int>(ceilDiv(p.k(), set)) * set, chunk = whole < kChunk<kRows> ? whole : kChunk<kRows>;
  const int columns = kWarps / slices * (p.gated ? kColumns / 2 : kColumns);
  const GpuLaunch l{p.gated ? "gatedLinearGemv" : "linearGemv", {ceilDiv(p.n(), columns), ceilDiv(p.rows(), kRows)}, {kThreads}, chunk * kRows * sizeof(float), s.stream};
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
