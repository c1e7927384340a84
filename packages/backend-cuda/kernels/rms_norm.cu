// rmsNorm: out = x / rms(x) * weight, with the residual added first where there is one. One block per row; the row stays in
// shared memory between the two passes.
#include "lib/elements.h"
#include "lib/reduce.h"

namespace quire {
namespace {

template <class W, class T>
__global__ void rmsNormKernel(const T* x, const W* weight, T* out, const T* residual, T* sum, int columns, float eps) {
  DYN_SHARED(float, row);
  SHARED(float, scratch, 32);
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
  const float scale = rsqrtf(blockSum(squares, scratch) / columns + eps);
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
      const unsigned threads = columns >= 2048 ? 512 : columns >= 512 ? 256 : 128;
      return gpuLaunch({"rmsNorm", {static_cast<unsigned>(a.out.rows)}, {threads}, columns * sizeof(float), s.stream}, rmsNormKernel<W, T>, a.x.as<T>(), a.weight.as<W>(), a.out.as<T>(),
                       a.residual.as<T>(), a.sum.as<T>(), columns, a.eps);
    });
  });
}

}  // namespace quire
