// What the tensor-core forms of linear with a quantised weight share: slices of K, and the product of a step of 32 columns. Both sum
// a slice in such steps and then the slices in their order: so they give the same bits.
//
// In a step lane l holds the codes of columns 8 (l % 4) .. + 7 of rows l / 4 and l / 4 + 8 of a tile of the weight, and the same
// columns of row l / 4 of a tile of x: instructions of 16 columns take them in halves of four from each lane, in an order that both
// operands share. Codes less their zero points are small integers, which f16 and bf16 hold; scales are taken in where the sums lie.
#pragma once
#include "quantized.h"
#include "tile.h"

namespace quire::quantized {

// Columns of a step.
constexpr int kStep = 32;
// Slices are whole groups.
inline int sliceColumns(int k) { return static_cast<int>(ceilDiv(k, kSlices * 128)) * 128; }

// Operand A of the two instructions of a step, of two rows: codes[r] are this lane's of row r.
template <class T, class F>
__device__ __forceinline__ void loadCodes(uint32_t (&a)[2][4], const char* const (&codes)[2], const GroupScale (&groups)[2]) {
#pragma unroll
  for (int r = 0; r < 2; r++) {
    if constexpr (F::kBits == 4) {
      const auto word = *reinterpret_cast<const uint32_t*>(codes[r]);
      const uint32_t zeros = zeroPair<T>(groups[r].zero);
#pragma unroll
      for (int i = 0; i < 4; i++) a[i / 2][r + i % 2 * 2] = codePair4<T>(word, i, zeros);
    } else {
      const auto words = *reinterpret_cast<const uint2*>(codes[r]);
#pragma unroll
      for (int i = 0; i < 4; i++) a[i / 2][r + i % 2 * 2] = codePair8<T>(i < 2 ? words.x : words.y, i % 2);
    }
  }
}

// sums += weights (16 kWeightTiles rows) x^T (8 kRowTiles rows) over one step. x[t] are this lane's columns of tile t, codesAt(row)
// points to its codes of a row of the weights and scaleAt(row) gives the bits of their scale. q4: a step's sums begin at 0 and are
// added times the scale of their group; q8: sums run on. sums as those of multiplySteps.
template <class T, class F, int kWeightTiles, int kRowTiles, class CodesAt, class ScaleAt>
__device__ __forceinline__ void multiplyStep(float (&sums)[kWeightTiles][kRowTiles][4], const uint4 (&x)[kRowTiles], CodesAt codesAt, [[maybe_unused]] ScaleAt scaleAt) {
  const int row = threadIdx.x % 32 / 4;
#pragma unroll
  for (int m = 0; m < kWeightTiles; m++) {
    GroupScale groups[2] = {};
    if constexpr (F::kBits == 4) {
#pragma unroll
      for (int r = 0; r < 2; r++) groups[r] = groupScale<F::kZeros>(scaleAt(16 * m + 8 * r + row));
    }
    uint32_t a[2][4];
    loadCodes<T, F>(a, {codesAt(16 * m + row), codesAt(16 * m + 8 + row)}, groups);
#pragma unroll
    for (int t = 0; t < kRowTiles; t++) {
      const uint32_t b[2][2] = {{x[t].x, x[t].y}, {x[t].z, x[t].w}};
      if constexpr (F::kBits == 8) {
        mma16816<T>(sums[m][t], a[0], b[0]);
        mma16816<T>(sums[m][t], a[1], b[1]);
      } else {
        float part[4] = {};
        mma16816<T>(part, a[0], b[0]);
        mma16816<T>(part, a[1], b[1]);
#pragma unroll
        for (int i = 0; i < 4; i++) sums[m][t][i] += groups[i / 2].scale * part[i];
      }
    }
  }
}

}  // namespace quire::quantized
