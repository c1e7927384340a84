// transferBlocks: cache blocks to and from pinned host memory, without a copy per layer.
//
// A block of the grid takes whole cache blocks in turn and moves them in units of 16 bytes, neighbouring lanes on neighbouring
// addresses, so that writes to the host travel as full bus transactions. The grid is small on purpose: a few SMs fill the bus,
// and the others stay with the step that runs beside it.
#include "transfer.h"

#include "lib/elements.h"

namespace quire {
namespace {

constexpr int kMaxBlocks = 16, kThreads = 256;

template <class V>
__global__ void transferKernel(const BlockMove* moves, int count, bool toHost) {
  waitForPrevious();
  for (int i = blockIdx.x; i < count; i += gridDim.x) {
    const BlockMove m = moves[i];
    const V* from = reinterpret_cast<const V*>(toHost ? m.block : m.host);
    V* to = reinterpret_cast<V*>(toHost ? m.host : m.block);
    const int64_t units = m.bytes / static_cast<int64_t>(sizeof(V));
    for (int64_t j = threadIdx.x; j < units; j += blockDim.x) GPU_STORE(to + j, GPU_LOAD(from + j));
  }
}

}  // namespace

cudaError_t transferBlocks(const BlockMove* moves, int count, int unit, bool toHost, cudaStream_t stream) {
  auto* kernel = unit == 16 ? transferKernel<uint4> : unit == 4 ? transferKernel<uint32_t> : unit == 2 ? transferKernel<uint16_t> : transferKernel<uint8_t>;
  const auto blocks = static_cast<unsigned>(count < kMaxBlocks ? count : kMaxBlocks);
  return gpuLaunch({"transferBlocks", {blocks}, {kThreads}, 0, stream}, kernel, moves, count, toHost);
}

}  // namespace quire
