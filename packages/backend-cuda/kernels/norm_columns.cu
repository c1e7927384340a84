// normColumns: some columns of each row become columns / rms(columns) * weight, in place. One block per row; the two kernels differ
// as those of rmsNorm do.
#include "lib/reduce.h"
#include "lib/row_packs.h"
#include "ops/columns.h"

namespace quire {
namespace {

// x: the first column that changes, of the first row. stride: elements from row to row.
template <class W, class T, int kPacks>
__global__ void __launch_bounds__(kRowThreads) normColumnsPacks(T* x, const W* weight, int64_t stride, int columns, float eps) {
  SHARED(float, scratch, 16);
  constexpr int kSize = Pack<T>::kSize;
  const int packs = columns / kSize;
  T* const to = x + blockIdx.x * stride;
  launchDependents();
  Beside<W, T> weights[kPacks];
  loadPacks<T>(weights, weight, packs);
  waitForPrevious();
  Beside<T, T> row[kPacks];
  loadPacks<T>(row, to, packs);
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kPacks; i++) {
#pragma unroll
    for (int j = 0; j < kSize; j++) squares += packOf(i) < packs ? toFloat(row[i].values[j]) * toFloat(row[i].values[j]) : 0.0f;
  }
  const float scale = rsqrtf(blockSumOnce(squares, scratch) / columns + eps);
#pragma unroll
  for (int i = 0; i < kPacks; i++) {
    if (packOf(i) >= packs) break;
#pragma unroll
    for (int j = 0; j < kSize; j++) row[i].values[j] = fromFloat<T>(toFloat(row[i].values[j]) * scale * toFloat(weights[i].values[j]));
    storePack(to, i, row[i]);
  }
}

template <class W, class T>
__global__ void normColumnsElements(T* x, const W* weight, int64_t stride, int columns, float eps) {
  SHARED(float, scratch, 16);
  T* const row = x + blockIdx.x * stride;
  launchDependents();
  waitForPrevious();
  float squares = 0;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) {
    const float value = toFloat(GPU_LOAD(row + c));
    squares += value * value;
  }
  const float scale = rsqrtf(blockSumOnce(squares, scratch) / columns + eps);
  for (int c = threadIdx.x; c < columns; c += blockDim.x) row[c] = fromFloat<T>(toFloat(row[c]) * scale * toFloat(GPU_LOAD(weight + c)));
}

}  // namespace

cudaError_t normColumns(const NormColumns& a, const Step& s) {
  if (a.x.rows == 0) return cudaSuccess;
  const int columns = static_cast<int>(a.weight.rows);
  return withDType(a.weight.dtype, [&](auto* w) {
    return withDType(a.x.dtype, [&](auto* x) {
      using W = Element<decltype(w)>;
      using T = Element<decltype(x)>;
      T* const first = a.x.as<T>() + a.column;
      auto launch = [&](auto* kernel, unsigned threads) {
        return gpuLaunch({"normColumns", {static_cast<unsigned>(a.x.rows)}, {threads}, 0, s.stream}, kernel, first, a.weight.as<W>(), a.x.columns, columns, a.eps);
      };
      return withRowPacks<T>(
          columns, {first, first + a.x.columns, a.weight.data}, [&](auto packs, unsigned threads) { return launch(normColumnsPacks<W, T, packs.value>, threads); },
          [&] { return launch(normColumnsElements<W, T>, columns >= 512 ? 512u : 128u); });
    });
  });
}

}  // namespace quire
