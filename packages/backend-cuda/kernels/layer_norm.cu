// layerNorm: out = (x - mean) / sqrt(variance + eps) * weight + bias. One block per row; the variance is summed over
// differences from the mean, so that large means cost no digits. The two kernels differ as those of rmsNorm do.
#include "lib/row_norm.h"
#include "ops/layers.h"

namespace quire {
namespace {

template <class W, class T, int kPacks>
__global__ void __launch_bounds__(kRowThreads) layerNormPacks(const T* x, const W* weight, const W* bias, T* out, int columns, float eps) {
  SHARED(float, scratch, 32);
  constexpr int kSize = Pack<T>::kSize;
  const int packs = columns / kSize;
  const int64_t base = static_cast<int64_t>(blockIdx.x) * columns;
  launchDependents();
  Beside<W, T> weights[kPacks], shifts[kPacks] = {};
  loadPacks<T>(weights, weight, packs);
  if (bias != nullptr) loadPacks<T>(shifts, bias, packs);
  waitForPrevious();
  Beside<T, T> row[kPacks];
  loadPacks<T>(row, x + base, packs);
  float sum = 0, squares = 0;
#pragma unroll
  for (int i = 0; i < kPacks; i++) {
#pragma unroll
    for (int j = 0; j < kSize; j++) sum += packOf(i) < packs ? toFloat(row[i].values[j]) : 0.0f;
  }
  const float mean = blockSumOnce(sum, scratch) / columns;
#pragma unroll
  for (int i = 0; i < kPacks; i++) {
#pragma unroll
    for (int j = 0; j < kSize; j++) {
      const float difference = packOf(i) < packs ? toFloat(row[i].values[j]) - mean : 0.0f;
      squares += difference * difference;
    }
  }
  const float scale = rsqrtf(blockSumOnce(squares, scratch + 16) / columns + eps);
#pragma unroll
  for (int i = 0; i < kPacks; i++) {
    if (packOf(i) >= packs) break;
#pragma unroll
    for (int j = 0; j < kSize; j++) row[i].values[j] = fromFloat<T>(layerNormed(toFloat(row[i].values[j]), {mean, scale}, toFloat(weights[i].values[j]), toFloat(shifts[i].values[j])));
    storePack(out + base, i, row[i]);
  }
}

template <class W, class T>
__global__ void layerNormElements(const T* x, const W* weight, const W* bias, T* out, int columns, float eps) {
  DYN_SHARED(float, row);
  SHARED(float, scratch, 32);
  launchDependents();
  waitForPrevious();
  const int64_t base = static_cast<int64_t>(blockIdx.x) * columns;
  float sum = 0;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) {
    row[c] = toFloat(GPU_LOAD(x + base + c));
    sum += row[c];
  }
  const float mean = blockSumOnce(sum, scratch) / columns;
  float squares = 0;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) squares += (row[c] - mean) * (row[c] - mean);
  const float scale = rsqrtf(blockSumOnce(squares, scratch + 16) / columns + eps);
  for (int c = threadIdx.x; c < columns; c += blockDim.x) {
    const float shift = bias == nullptr ? 0.0f : toFloat(GPU_LOAD(bias + c));
    out[base + c] = fromFloat<T>((row[c] - mean) * scale * toFloat(GPU_LOAD(weight + c)) + shift);
  }
}

}  // namespace

cudaError_t layerNorm(const LayerNorm& a, const Step& s) {
  if (a.out.rows == 0) return cudaSuccess;
  const int columns = static_cast<int>(a.out.columns);
  return withDType(a.weight.dtype, [&](auto* w) {
    return withDType(a.out.dtype, [&](auto* o) {
      using W = Element<decltype(w)>;
      using T = Element<decltype(o)>;
      auto launch = [&](auto* kernel, unsigned threads, size_t shared) {
        return gpuLaunch({"layerNorm", {static_cast<unsigned>(a.out.rows)}, {threads}, shared, s.stream}, kernel, a.x.as<T>(), a.weight.as<W>(), a.bias.as<W>(), a.out.as<T>(), columns, a.eps);
      };
      return withRowPacks<T>(
          columns, {a.x.data, a.weight.data, a.bias.data, a.out.data}, [&](auto packs, unsigned threads) { return launch(layerNormPacks<W, T, packs.value>, threads, 0); },
          [&] { return launch(layerNormElements<W, T>, columns >= 512 ? 512u : 128u, columns * sizeof(float)); });
    });
  });
}

}  // namespace quire
