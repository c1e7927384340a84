// add: out = a + b. One thread per element, grid-stride.
#include "lib/elements.h"
#include "ops/layers.h"

namespace quire {
namespace {

template <class T>
__global__ void addKernel(const T* a, const T* b, T* out, int64_t count) {
  launchDependents();
  waitForPrevious();
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += static_cast<int64_t>(gridDim.x) * blockDim.x) out[i] = fromFloat<T>(toFloat(a[i]) + toFloat(b[i]));
}

}  // namespace

cudaError_t add(const Add& a, const Step& s) {
  const int64_t count = a.out.rows * a.out.columns;
  if (count == 0) return cudaSuccess;
  return withDType(a.out.dtype, [&](auto* o) {
    using T = Element<decltype(o)>;
    const unsigned blocks = ceilDiv(count, 256) < 8u * s.smCount ? ceilDiv(count, 256) : 8u * s.smCount;
    return gpuLaunch({"add", {blocks}, {256}, 0, s.stream}, addKernel<T>, a.a.as<T>(), a.b.as<T>(), a.out.as<T>(), count);
  });
}

}  // namespace quire
