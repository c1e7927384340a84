// What the forms of linear for few rows in f32 share: a warp owns kColumns rows of the weight (gated: half of them of gates and the
// others their ups) and one of up to kWarps slices of K, a block is kWarps warps; x lies in shared memory as f32.
#pragma once
#include "../lib/reduce.h"
#include "output.h"

namespace quire::gemv {

constexpr int kColumns = 4;
constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
// Enough warps to keep any chip's memory busy.
constexpr int kEnoughWarps = 4096;

// Floats of each row of x in shared memory at a time, about.
template <int kRows>
constexpr int kChunk = kRows <= 2 ? 8192 : 4096;

// Brings `packs` packs of kRows rows of x from element k0 on into shared memory, per row kPack / 4 planes of 4 floats per pack, so
// that neighbouring lanes read neighbouring 16 bytes. What lies outside of x becomes 0, and the rest of(element, row, column).
// kRagged: rows of any length, at any address.
template <int kPack, int kRows, bool kRagged, class Of>
__device__ __forceinline__ void stage(float4* to, const void* x, DType dtype, int row0, int rows, int k0, int k, int packs, Of of) {
  constexpr int kPlanes = kPack / 4;
  withElement(dtype, [&](auto* t) {
    using T = Element<decltype(t)>;
    for (int i = threadIdx.x; i < kRows * packs * kPlanes; i += kThreads) {
      const int r = i / (packs * kPlanes), quad = i % (packs * kPlanes), at = k0 + 4 * quad;
      float4 f{0, 0, 0, 0};
      if (row0 + r < rows && at < k) {
        const T* const from = static_cast<const T*>(x) + static_cast<int64_t>(row0 + r) * k + at;
        if constexpr (kRagged) {
          f = {of(from[0], r, at), at + 1 < k ? of(from[1], r, at + 1) : 0.0f, at + 2 < k ? of(from[2], r, at + 2) : 0.0f, at + 3 < k ? of(from[3], r, at + 3) : 0.0f};
        } else {
          const auto q = *reinterpret_cast<const Quad<T>*>(from);
          f = {of(q.values[0], r, at), of(q.values[1], r, at + 1), of(q.values[2], r, at + 2), of(q.values[3], r, at + 3)};
        }
      }
      to[(r * kPlanes + quad % kPlanes) * packs + quad / kPlanes] = f;
    }
  });
}

// What a block works on.
struct Place {
  int slices, columns, groups, firstColumn, row0;
  __device__ __forceinline__ Place(const LinearOutput& out, int slices, int rows)
      : slices(slices), columns(out.gated ? kColumns / 2 : kColumns), groups(kWarps / slices), firstColumn(blockIdx.x * groups * columns), row0(blockIdx.y * rows) {}
  // The weight's row of sum c of a warp; -1 beyond the last column.
  __device__ __forceinline__ int weightRow(const LinearOutput& out, int group, int c) const {
    const int column = firstColumn + group * columns + c % columns;
    return column < out.n ? column + c / columns * out.n : -1;
  }
};

// Adds the slices' sums in their order and stores the block's outputs. sums[r * kColumns + c] are a warp's; `partial` is shared
// memory of kWarps times as many. of(row, sum) is what the sum of a row of the weight stands for.
template <int kRows, class Of>
__device__ __forceinline__ void storeSums(const LinearOutput& out, const Place& p, float* partial, const float (&all)[kRows * kColumns], Of of) {
  constexpr int kSums = kRows * kColumns;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const float sum = warpSums<kSums>(all);
  if (lane % (32 / kSums) == 0) partial[warp * kSums + lane / (32 / kSums)] = sum;
  __syncthreads();
  const int width = p.groups * p.columns;
#pragma unroll 1
  for (int i = threadIdx.x; i < width * kRows; i += kThreads) {
    const int r = i / width, c = i % width;
    if (p.row0 + r >= out.rows || p.firstColumn + c >= out.n) continue;
    const float* at = partial + c / p.columns * p.slices * kSums + r * kColumns + c % p.columns;
    float sums[1] = {0}, ups[1] = {0};
#pragma unroll 1
    for (int s = 0; s < p.slices; s++) {
      sums[0] += at[s * kSums];
      if (out.gated) ups[0] += at[s * kSums + p.columns];
    }
    sums[0] = of(p.firstColumn + c, sums[0]);
    if (out.gated) ups[0] = of(out.n + p.firstColumn + c, ups[0]);
    storeOutput(out, p.row0 + r, p.firstColumn + c, sums, ups);
  }
}

// The least number of slices, up to `most` (a power of two), that makes enough warps and leaves every lane a pack.
inline int sliceCount(int weightRows, int k, int pack, int most) {
  int slices = 1;
  while (slices < most && weightRows / kColumns * slices < kEnoughWarps && k >= 2 * slices * 32 * pack) slices *= 2;
  return slices;
}

// `set`: columns that all slices take in one set of loads. Returns the columns of x in shared memory at a time, whole sets.
template <int kRows>
int chunkOf(int k, int set) {
  const int whole = static_cast<int>(ceilDiv(k, set)) * set, most = kChunk<kRows> < set ? set : kChunk<kRows> / set * set;
  return whole < most ? whole : most;
}

inline GpuLaunch launchOf(const char* name, const LinearProblem& p, const Step& s, int slices, int chunk, int rows) {
  const int columns = kWarps / slices * (p.gated ? kColumns / 2 : kColumns);
  return {name, {ceilDiv(p.n(), columns), ceilDiv(p.rows(), rows)}, {kThreads}, chunk * rows * sizeof(float), s.stream};
}

}  // namespace quire::gemv
