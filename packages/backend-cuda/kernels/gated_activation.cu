// gatedActivation: out = activation(gate) * up over rows of [gate, up]. One thread per element, grid-stride.
#include "lib/elements.h"
#include "ops/layers.h"

namespace quire {
namespace {

template <class T>
__global__ void gatedActivationKernel(const T* x, T* out, int64_t count, int columns, Activation activation) {
  launchDependents();
  waitForPrevious();
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const T* row = x + i / columns * 2 * columns + i % columns;
    out[i] = fromFloat<T>(activate(activation, toFloat(GPU_LOAD(row))) * toFloat(GPU_LOAD(row + columns)));
  }
}

}  // namespace

cudaError_t gatedActivation(const GatedActivation& a, const Step& s) {
  const int64_t count = a.out.rows * a.out.columns;
  if (count == 0) return cudaSuccess;
  return withDType(a.out.dtype, [&](auto* o) {
    using T = Element<decltype(o)>;
    const unsigned blocks = ceilDiv(count, 256) < 8u * s.smCount ? ceilDiv(count, 256) : 8u * s.smCount;
    return gpuLaunch({"gatedActivation", {blocks}, {256}, 0, s.stream}, gatedActivationKernel<T>, a.x.as<T>(), a.out.as<T>(), count, static_cast<int>(a.out.columns), a.activation);
  });
}

}  // namespace quire
