// Fills memory with seeded noise in [-1, 1): what is timed must not be zeros, whose sums cost less power.
#include "fill.h"

#include "kernels/lib/elements.h"

namespace {

template <class T>
__global__ void fillKernel(T* to, int64_t count, uint32_t seed) {
  waitForPrevious();
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < count; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    uint32_t x = static_cast<uint32_t>(i) * 0x9e3779b1u ^ seed;
    x = (x ^ x >> 16) * 0x85ebca6bu;
    x = (x ^ x >> 13) * 0xc2b2ae35u;
    x ^= x >> 16;
    to[i] = quire::fromFloat<T>(static_cast<float>(static_cast<int32_t>(x)) * 0x1p-31f);
  }
}

}  // namespace

cudaError_t fillNoise(void* to, quire::DType dtype, int64_t count, uint32_t seed, cudaStream_t stream) {
  return quire::withDType(dtype, [&](auto* t) {
    using T = quire::Element<decltype(t)>;
    return gpuLaunch({"fill", {1024}, {256}, 0, stream}, fillKernel<T>, static_cast<T*>(to), count, seed);
  });
}
