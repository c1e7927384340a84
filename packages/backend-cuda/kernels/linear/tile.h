// What the two tensor-core forms of linear share: slices of K, tiles of weights and activations in shared memory, and their
// product. Both have the weight as operand A (16 rows of it, so 16 columns of the output) and x as operand B (8 rows of it),
// and both sum a slice of K in steps of 16 and then the slices in their order: so they give the same bits.
#pragma once
#include "output.h"

namespace quire {

// K is cut into at most kSlices slices of sliceLength elements, a multiple of every tile's K.
constexpr int kSlices = 8;
inline int sliceLength(int k) { return static_cast<int>(ceilDiv(k, kSlices * 64)) * 64; }

// The weight's row behind row `local` of the block's tile; tiles are 16 rows high. Gated: 8 rows of gates and the 8 of their
// ups, so that the two sums of an output lie in one thread's hands. -1 beyond the last column.
__device__ __forceinline__ int weightRow(const LinearOutput& o, int firstTile, int local) {
  if (!o.gated) {
    const int column = firstTile * 16 + local;
    return column < o.n ? column : -1;
  }
  const int column = (firstTile + local / 16) * 8 + local % 8;
  return column < o.n ? column + local / 8 % 2 * o.n : -1;
}

// Where 16-byte chunk `chunk` of row `row` lies, in elements: rows of kK elements, chunks swizzled so that 8 rows' chunks of
// one column of chunks, which is what ldmatrix asks for at a time, lie in 8 different groups of banks.
template <int kK>
__device__ __forceinline__ int swizzled(int row, int chunk) {
  static_assert(kK == 64 || kK == 32);
  return row * kK + (chunk ^ (kK == 64 ? row & 7 : row >> 1 & 3)) * 8;
}

// Starts the copy of kRows rows of kK elements from column k0 on into `tile`, by kThreads threads. rowOf(i) is row i of the
// source or null; what lies outside of the source becomes 0. `anywhere` is any address of it.
template <int kK, int kRows, int kThreads, class T, class RowOf>
__device__ __forceinline__ void copyTile(T* tile, int thread, int k0, int k, const T* anywhere, RowOf rowOf) {
  constexpr int kChunks = kK / 8, kRounds = (kRows * kChunks + kThreads - 1) / kThreads;
#pragma unroll
  for (int i = 0; i < kRounds; i++) {
    const int row = (i * kThreads + thread) / kChunks, chunk = thread % kChunks;
    if (kRounds * kThreads > kRows * kChunks && row >= kRows) break;
    const T* source = k0 + chunk * 8 < k ? rowOf(row) : nullptr;
    cpAsync16(tile + swizzled<kK>(row, chunk), source != nullptr ? source + k0 + chunk * 8 : anywhere, source != nullptr ? 16 : 0);
  }
}

// sums[m][t] += weights (16 kWeightTiles rows) x^T (8 kRowTiles rows) over kSteps steps of 16 elements from step `first` on, in
// tiles of rows of kK elements. Both pointers are to the warp's first row, a multiple of 8 rows from the tile's start.
// sums[m][t][i] of lane l: weight row 16 m + l / 4 + 8 (i / 2), row of x 8 t + l % 4 * 2 + i % 2.
template <int kK, int kSteps, int kWeightTiles, int kRowTiles, class T>
__device__ __forceinline__ void multiplySteps(float (&sums)[kWeightTiles][kRowTiles][4], const T* weights, const T* x, int first) {
  static_assert(kRowTiles == 1 ? kSteps % 2 == 0 : kRowTiles % 2 == 0);
  const int lane = threadIdx.x % 32;
  [[maybe_unused]] uint32_t pair[4];
#pragma unroll
  for (int i = 0; i < kSteps; i++) {
    const int step = first + i;
    uint32_t b[kRowTiles][2];
    if constexpr (kRowTiles == 1) {
      // Four matrices are the one row tile in two steps.
      if (i % 2 == 0) ldmatrixX4<false>(pair, x + swizzled<kK>(lane % 8, 2 * step + lane / 8));
      b[0][0] = pair[i % 2 * 2], b[0][1] = pair[i % 2 * 2 + 1];
    } else {
#pragma unroll
      for (int t = 0; t < kRowTiles; t += 2) {
        uint32_t r[4];
        ldmatrixX4<false>(r, x + swizzled<kK>(8 * t + lane / 16 * 8 + lane % 8, 2 * step + lane / 8 % 2));
        b[t][0] = r[0], b[t][1] = r[1], b[t + 1][0] = r[2], b[t + 1][1] = r[3];
      }
    }
#pragma unroll
    for (int m = 0; m < kWeightTiles; m++) {
      uint32_t a[4];
      ldmatrixX4<false>(a, weights + swizzled<kK>(16 * m + lane % 16, 2 * step + lane / 16));
#pragma unroll
      for (int t = 0; t < kRowTiles; t++) mma16816<T>(sums[m][t], a, b[t]);
    }
  }
}
// The same over all kK elements.
template <int kK, int kWeightTiles, int kRowTiles, class T>
__device__ __forceinline__ void multiplyTiles(float (&sums)[kWeightTiles][kRowTiles][4], const T* weights, const T* x) {
  multiplySteps<kK, kK / 16>(sums, weights, x, 0);
}

// Writes a warp's sums into shared memory, [rows of x][weight rows], `stride` floats per row; a stride of 4 more than a
// multiple of 16 has no bank conflicts.
template <int kWeightTiles, int kRowTiles>
__device__ __forceinline__ void spreadSums(float* to, int stride, const float (&sums)[kWeightTiles][kRowTiles][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int m = 0; m < kWeightTiles; m++) {
#pragma unroll
    for (int t = 0; t < kRowTiles; t++) {
#pragma unroll
      for (int i = 0; i < 4; i++) to[(8 * t + lane % 4 * 2 + i % 2) * stride + 16 * m + lane / 4 + i / 2 * 8] = sums[m][t][i];
    }
  }
}

// total = the sums of four weight rows, added in the order of the slices of K; `from` points to those of the first, `stride` bytes in
// front of those of the next.
__device__ __forceinline__ void addSlices(float (&total)[4], const char* from, int stride, int slices) {
  total[0] = total[1] = total[2] = total[3] = 0.0f;
#pragma unroll 4
  for (int slice = 0; slice < slices; slice++) {
    const auto part = *reinterpret_cast<const float4*>(from + slice * stride);
    total[0] += part.x, total[1] += part.y, total[2] += part.z, total[3] += part.w;
  }
}

// Stores a block's sums. sumsAt(row, local, quad) gives those of row `row` of the block and weight rows local .. local + 3.
template <int kWeightTiles, int kThreads, class SumsAt>
__device__ __forceinline__ void storeBlock(const LinearOutput& o, int firstTile, int firstRow, int rows, SumsAt sumsAt) {
  const int quads = (o.gated ? 2 : 4) * kWeightTiles;
#pragma unroll 1
  for (int i = threadIdx.x; i < rows * quads; i += kThreads) {
    const int row = i / quads, quad = i % quads;
    const int column = firstTile * (o.gated ? 8 : 16) + 4 * quad;
    if (firstRow + row >= o.rows || column >= o.n) continue;
    float sums[4], ups[4] = {};
    sumsAt(row, o.gated ? quad / 2 * 16 + quad % 2 * 4 : 4 * quad, sums);
    if (o.gated) sumsAt(row, quad / 2 * 16 + quad % 2 * 4 + 8, ups);
    storeOutput(o, firstRow + row, column, sums, ups);
  }
}

}  // namespace quire
