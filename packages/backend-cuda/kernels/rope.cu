// rope: rotates queries and keys of qkv in place. One block per token.
#include "lib/elements.h"

namespace quire {
namespace {

template <class T>
__global__ void ropeKernel(T* qkv, const uint32_t* positions, const float* table, int width, int rotatedHeads, int headDim, int rotaryDim, bool interleaved) {
  waitForPrevious();
  T* token = qkv + static_cast<int64_t>(blockIdx.x) * width;
  const float* angles = table + static_cast<int64_t>(positions[blockIdx.x]) * rotaryDim;
  const int half = rotaryDim / 2;
  for (int i = threadIdx.x; i < rotatedHeads * half; i += blockDim.x) {
    const int pair = i % half;
    T* head = token + i / half * headDim;
    T* first = head + (interleaved ? 2 * pair : pair);
    T* second = head + (interleaved ? 2 * pair + 1 : pair + half);
    const float cosine = GPU_LOAD(angles + pair), sine = GPU_LOAD(angles + half + pair), a = toFloat(*first), b = toFloat(*second);
    *first = fromFloat<T>(a * cosine - b * sine);
    *second = fromFloat<T>(b * cosine + a * sine);
  }
}

}  // namespace

cudaError_t rope(const Rope& a, const Step& s) {
  if (a.qkv.rows == 0) return cudaSuccess;
  return withDType(a.qkv.dtype, [&](auto* q) {
    using T = Element<decltype(q)>;
    return gpuLaunch({"rope", {static_cast<unsigned>(a.qkv.rows)}, {128}, 0, s.stream}, ropeKernel<T>, a.qkv.as<T>(), a.positions.as<uint32_t>(), a.table.as<float>(),
                     static_cast<int>(a.qkv.columns), a.heads + a.kvHeads, a.headDim, a.rotaryDim, a.interleaved);
  });
}

}  // namespace quire
