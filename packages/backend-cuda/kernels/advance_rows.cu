// advanceRows: appends sampled tokens to their rows and to the ring. One thread per sequence.
#include "lib/advance.h"
#include "lib/elements.h"

namespace quire {
namespace {

__global__ void advanceRowsKernel(RowAdvance a) {
  launchDependents();
  waitForPrevious();
  advanceRow(a, blockIdx.x * blockDim.x + threadIdx.x);
}

}  // namespace

cudaError_t advanceRows(const AdvanceRows& a, const Step& s) {
  return gpuLaunch({"advanceRows", {ceilDiv(s.sizes.sequences, 128)}, {128}, 0, s.stream}, advanceRowsKernel, rowAdvance(a, s.sizes.sequences));
}

}  // namespace quire
