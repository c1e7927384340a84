// layerNorm: out = (x - mean) / sqrt(variance + eps) * weight + bias. One block per row; the variance is summed over
// differences from the mean, so that large means cost no digits.
#include "lib/elements.h"
#include "lib/reduce.h"

namespace quire {
namespace {

template <class W, class T>
__global__ void layerNormKernel(const T* x, const W* weight, const W* bias, T* out, int columns, float eps) {
  DYN_SHARED(float, row);
  SHARED(float, scratch, 32);
  waitForPrevious();
  const int64_t base = static_cast<int64_t>(blockIdx.x) * columns;
  float sum = 0;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) {
    row[c] = toFloat(GPU_LOAD(x + base + c));
    sum += row[c];
  }
  const float mean = blockSum(sum, scratch) / columns;
  float squares = 0;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) squares += (row[c] - mean) * (row[c] - mean);
  const float scale = rsqrtf(blockSum(squares, scratch) / columns + eps);
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
      const unsigned threads = columns >= 2048 ? 512 : columns >= 512 ? 256 : 128;
      return gpuLaunch({"layerNorm", {static_cast<unsigned>(a.out.rows)}, {threads}, columns * sizeof(float), s.stream}, layerNormKernel<W, T>, a.x.as<T>(), a.weight.as<W>(), a.bias.as<W>(),
                       a.out.as<T>(), columns, a.eps);
    });
  });
}

}  // namespace quire
