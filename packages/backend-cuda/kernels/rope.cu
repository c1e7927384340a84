// rope: rotates queries and keys of qkv in place. One block per token.
#include "lib/rotary.h"

namespace quire {
namespace {

template <class T>
__global__ void ropeKernel(T* qkv, const uint32_t* positions, const float* table, int width, int rotatedHeads, int headDim, Rotary rotary) {
  waitForPrevious();
  T* token = qkv + static_cast<int64_t>(blockIdx.x) * width;
  const float* angles = table + static_cast<int64_t>(positions[blockIdx.x]) * rotary.rotaryDim;
  const int pairs = rotary.rotaryDim / 2;
  for (int i = threadIdx.x; i < rotatedHeads * pairs; i += blockDim.x) rotatePair(token + i / pairs * headDim, angles, i % pairs, rotary);
}

}  // namespace

cudaError_t rope(const Rope& a, const Step& s) {
  if (a.qkv.rows == 0) return cudaSuccess;
  return withDType(a.qkv.dtype, [&](auto* q) {
    using T = Element<decltype(q)>;
    return gpuLaunch({"rope", {static_cast<unsigned>(a.qkv.rows)}, {128}, 0, s.stream}, ropeKernel<T>, a.qkv.as<T>(), a.positions.as<uint32_t>(), a.table.as<float>(),
                     static_cast<int>(a.qkv.columns), a.heads + a.kvHeads, a.headDim, Rotary{a.rotaryDim, a.interleaved});
  });
}

}  // namespace quire
