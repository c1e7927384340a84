// linear, streaming form: every warp owns 4 columns of the output (rows of the weight) and kRows rows; lanes run along K, so
// the weight is read once per kRows rows and the order of summation depends on K alone. For any dtype and shape.
#include "../lib/elements.h"
#include "../lib/reduce.h"
#include "variants.h"

namespace quire {
namespace {

constexpr int kColumns = 4;
constexpr int kWarps = 4;

template <class W, class T, class O, int kRows, bool kVector>
__global__ void linearStreaming(const T* x, const W* weight, O* out, const W* bias, const O* residual, Activation activation, int rows, int n, int k, int outStride, int outColumn) {
  waitForPrevious();
  const int lane = threadIdx.x % 32;
  const int column0 = (blockIdx.x * kWarps + threadIdx.x / 32) * kColumns, row0 = blockIdx.y * kRows;
  if (column0 >= n) return;
  constexpr int kPack = kVector ? Pack<W>::kSize : 1;
  float sums[kRows][kColumns] = {};
  for (int k0 = lane * kPack; k0 < k; k0 += 32 * kPack) {
    float activations[kRows][kPack];
    for (int r = 0; r < kRows; r++) {
      for (int i = 0; i < kPack; i++) activations[r][i] = row0 + r < rows ? toFloat(x[static_cast<int64_t>(row0 + r) * k + k0 + i]) : 0.0f;
    }
    for (int c = 0; c < kColumns; c++) {
      if (column0 + c >= n) break;
      const W* from = weight + static_cast<int64_t>(column0 + c) * k + k0;
      W values[kPack];
      if constexpr (kVector) {
        const Pack<W> pack = *reinterpret_cast<const Pack<W>*>(from);
        for (int i = 0; i < kPack; i++) values[i] = pack.values[i];
      } else {
        values[0] = GPU_LOAD(from);
      }
      for (int i = 0; i < kPack; i++) {
        for (int r = 0; r < kRows; r++) sums[r][c] += activations[r][i] * toFloat(values[i]);
      }
    }
  }
  for (int r = 0; r < kRows; r++) {
    for (int c = 0; c < kColumns; c++) {
      const float sum = warpSum(sums[r][c]);
      if (lane != 0 || row0 + r >= rows || column0 + c >= n) continue;
      const int64_t to = static_cast<int64_t>(row0 + r) * outStride + outColumn + column0 + c;
      float y = activate(activation, sum + (bias == nullptr ? 0.0f : toFloat(bias[column0 + c])));
      if (residual != nullptr) y += toFloat(residual[to]);
      out[to] = fromFloat<O>(y);
    }
  }
}

template <class W, class T, class O, int kRows>
cudaError_t launch(const Linear& a, const Step& s) {
  const int n = a.weight.rows, k = static_cast<int>(a.weight.columns), rows = a.out.rows;
  const bool vector = k % Pack<W>::kSize == 0;
  const GpuLaunch l{"linearStreaming", {ceilDiv(n, kWarps * kColumns), ceilDiv(rows, kRows)}, {32 * kWarps}, 0, s.stream};
  return gpuLaunch(l, vector ? linearStreaming<W, T, O, kRows, true> : linearStreaming<W, T, O, kRows, false>, a.x.as<T>(), a.weight.as<W>(), a.out.as<O>(), a.bias.as<W>(), a.residual.as<O>(),
                   a.activation, rows, n, k, static_cast<int>(a.out.columns), a.outColumn);
}

}  // namespace

cudaError_t linearStreamingLaunch(const Linear& a, const Step& s) {
  return withDType(a.weight.dtype, [&](auto* w) {
    return withDType(a.x.dtype, [&](auto* x) {
      return withDType(a.out.dtype, [&](auto* o) {
        using W = Element<decltype(w)>;
        using T = Element<decltype(x)>;
        using O = Element<decltype(o)>;
        return a.out.rows == 1 ? launch<W, T, O, 1>(a, s) : launch<W, T, O, 4>(a, s);
      });
    });
  });
}

}  // namespace quire
