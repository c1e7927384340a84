// scale: out = factor x, or softCap tanh(factor x / softCap). A thread takes 16 bytes at a time where rows allow it, as those of
// logits do, grid-stride.
#include "lib/elements.h"
#include "ops/columns.h"

namespace quire {
namespace {

template <class T>
struct Single {
  static constexpr int kSize = 1;
  T values[1];
};

// Unit: what a thread loads and stores at once.
template <class T, class Unit>
__global__ void scaleKernel(const Unit* x, Unit* out, int64_t units, float factor, float softCap) {
  launchDependents();
  waitForPrevious();
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < units; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    Unit unit = GPU_LOAD(x + i);
#pragma unroll
    for (int j = 0; j < Unit::kSize; j++) {
      const float value = toFloat(unit.values[j]) * factor;
      unit.values[j] = fromFloat<T>(softCap > 0 ? softCap * tanhf(value / softCap) : value);
    }
    GPU_STORE(out + i, unit);
  }
}

template <class T, class Unit>
cudaError_t launch(const Scale& a, const Step& s) {
  const int64_t units = a.out.rows * a.out.columns / Unit::kSize;
  const unsigned blocks = ceilDiv(units, 256) < 8u * s.smCount ? ceilDiv(units, 256) : 8u * s.smCount;
  return gpuLaunch({"scale", {blocks}, {256}, 0, s.stream}, scaleKernel<T, Unit>, a.x.as<Unit>(), a.out.as<Unit>(), units, a.factor, a.softCap);
}

}  // namespace

cudaError_t scale(const Scale& a, const Step& s) {
  if (a.out.rows == 0) return cudaSuccess;
  return withDType(a.out.dtype, [&](auto* o) {
    using T = Element<decltype(o)>;
    const bool aligned = (reinterpret_cast<uintptr_t>(a.x.data) | reinterpret_cast<uintptr_t>(a.out.data)) % sizeof(Pack<T>) == 0;
    return aligned && a.out.columns % Pack<T>::kSize == 0 ? launch<T, Pack<T>>(a, s) : launch<T, Single<T>>(a, s);
  });
}

}  // namespace quire
