// rope: norms queries and keys of qkv where the op has norms, and rotates them, in place. A warp owns a head of a token; a block
// is eight of them.
#include "lib/rotary.h"
#include "ops/attention.h"

namespace quire {
namespace {

constexpr int kWarps = 8;

template <class T>
__global__ void ropeKernel(T* qkv, const uint32_t* positions, const float* table, int width, int heads, int kvHeads, int headDim, Rotary rotary, NormWeights norms) {
  launchDependents();
  waitForPrevious();
  const int head = blockIdx.y * kWarps + threadIdx.x / 32;
  if (head >= heads + kvHeads) return;
  T* const data = qkv + static_cast<int64_t>(blockIdx.x) * width + head * headDim;
  const float* angles = table + static_cast<int64_t>(positions[blockIdx.x]) * rotary.rotaryDim;
  RotaryHead<T>(data, headDim, threadIdx.x % 32, rotary, norms, head < heads).turn(angles);
}

}  // namespace

cudaError_t rope(const Rope& a, const Step& s) {
  if (a.qkv.rows == 0) return cudaSuccess;
  return withDType(a.qkv.dtype, [&](auto* q) {
    using T = Element<decltype(q)>;
    const Rotary rotary = makeRotary<T>(a.rotaryDim, a.interleaved, a.headDim, a.qkv.columns, {a.qkv.data, a.table.data, a.norms.qNorm.data, a.norms.kNorm.data});
    const dim3 grid{static_cast<unsigned>(a.qkv.rows), ceilDiv(a.heads + a.kvHeads, kWarps)};
    return gpuLaunch({"rope", grid, {32 * kWarps}, 0, s.stream}, ropeKernel<T>, a.qkv.as<T>(), a.positions.as<uint32_t>(), a.table.as<float>(), static_cast<int>(a.qkv.columns), a.heads,
                     a.kvHeads, a.headDim, rotary, normWeights(a.norms));
  });
}

}  // namespace quire
