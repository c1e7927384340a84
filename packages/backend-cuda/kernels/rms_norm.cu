// rmsNorm: out = x / rms(x) * weight, with the residual added first where there is one. One block per row.
//
// A row stays in registers between its two passes where it is made of whole packs of 16 bytes, else in shared memory. The time
// of few rows is latency, of one round of loads, one barrier and one round of stores: so the weights are read before the kernel
// in front has finished, and the kernel behind may start, and read its own weights, while this one waits. Measured on an H200 in a
// graph of dependent launches: one row of 4096 bf16 1.1 us (1.3 with a residual), of 1024 0.9 us; 2048 rows of 4096 8.3 us, 94 % of
// the memory's limit.
#include "lib/row_norm.h"
#include "ops/layers.h"

namespace quire {
namespace {

template <class W, class T, int kPacks>
__global__ void __launch_bounds__(kRowThreads) rmsNormPacks(const T* x, const W* weight, T* out, const T* residual, T* sum, int columns, float eps) {
  SHARED(float, scratch, 16);
  constexpr int kSize = Pack<T>::kSize;
  const int packs = columns / kSize;
  const int64_t base = static_cast<int64_t>(blockIdx.x) * columns;
  launchDependents();
  Beside<W, T> weights[kPacks];
  loadPacks<T>(weights, weight, packs);
  waitForPrevious();
  Beside<T, T> row[kPacks], added[kPacks];
  loadPacks<T>(row, x + base, packs);
  if (residual != nullptr) loadPacks<T>(added, residual + base, packs);
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kPacks; i++) {
    if (packOf(i) >= packs) break;
    if (residual != nullptr) {
#pragma unroll
      for (int j = 0; j < kSize; j++) row[i].values[j] = fromFloat<T>(toFloat(row[i].values[j]) + toFloat(added[i].values[j]));
      storePack(sum + base, i, row[i]);
    }
#pragma unroll
    for (int j = 0; j < kSize; j++) squares += toFloat(row[i].values[j]) * toFloat(row[i].values[j]);
  }
  const float scale = rsqrtf(blockSumOnce(squares, scratch) / columns + eps);
#pragma unroll
  for (int i = 0; i < kPacks; i++) {
    if (packOf(i) >= packs) break;
#pragma unroll
    for (int j = 0; j < kSize; j++) row[i].values[j] = fromFloat<T>(rmsNormed(toFloat(row[i].values[j]), scale, toFloat(weights[i].values[j])));
    storePack(out + base, i, row[i]);
  }
}

template <class W, class T>
__global__ void rmsNormElements(const T* x, const W* weight, T* out, const T* residual, T* sum, int columns, float eps) {
  DYN_SHARED(float, row);
  SHARED(float, scratch, 16);
  launchDependents();
  waitForPrevious();
  const int64_t base = static_cast<int64_t>(blockIdx.x) * columns;
  float squares = 0;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) {
    float v = toFloat(GPU_LOAD(x + base + c));
    if (residual != nullptr) {
      const T rounded = fromFloat<T>(v + toFloat(residual[base + c]));
      sum[base + c] = rounded;
      v = toFloat(rounded);
    }
    row[c] = v;
    squares += v * v;
  }
  const float scale = rsqrtf(blockSumOnce(squares, scratch) / columns + eps);
  for (int c = threadIdx.x; c < columns; c += blockDim.x) out[base + c] = fromFloat<T>(row[c] * scale * toFloat(GPU_LOAD(weight + c)));
}

}  // namespace

cudaError_t rmsNorm(const RmsNorm& a, const Step& s) {
  if (a.out.rows == 0) return cudaSuccess;
  const int columns = static_cast<int>(a.out.columns);
  return withDType(a.weight.dtype, [&](auto* w) {
    return withDType(a.out.dtype, [&](auto* o) {
      using W = Element<decltype(w)>;
      using T = Element<decltype(o)>;
      auto launch = [&](auto* kernel, unsigned threads, size_t shared) {
        return gpuLaunch({"rmsNorm", {static_cast<unsigned>(a.out.rows)}, {threads}, shared, s.stream}, kernel, a.x.as<T>(), a.weight.as<W>(), a.out.as<T>(), a.residual.as<T>(), a.sum.as<T>(), columns, a.eps);
      };
      return withRowPacks<T>(
          columns, {a.x.data, a.weight.data, a.out.data, a.residual.data, a.sum.data}, [&](auto packs, unsigned threads) { return launch(rmsNormPacks<W, T, packs.value>, threads, 0); },
          [&] { return launch(rmsNormElements<W, T>, columns >= 512 ? 512u : 128u, columns * sizeof(float)); });
    });
  });
}

}  // namespace quire
