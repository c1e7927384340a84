// gatherRows: the hidden states of the sampled tokens. One block per sample.
#include "lib/elements.h"
#include "lib/row_state.h"
#include "ops/rows.h"

namespace quire {
namespace {

template <class T>
__global__ void gatherRowsKernel(const T* x, const uint32_t* samples, T* out, int columns) {
  launchDependents();
  waitForPrevious();
  const int64_t from = static_cast<int64_t>(samples[blockIdx.x * SAMPLE_WORDS + SampleWord::token]) * columns, to = static_cast<int64_t>(blockIdx.x) * columns;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) out[to + c] = GPU_LOAD(x + from + c);
}

}  // namespace

cudaError_t gatherRows(const GatherRows& a, const Step& s) {
  if (a.out.rows == 0) return cudaSuccess;
  return withDType(a.out.dtype, [&](auto* o) {
    using T = Element<decltype(o)>;
    return gpuLaunch({"gatherRows", {static_cast<unsigned>(a.out.rows)}, {128}, 0, s.stream}, gatherRowsKernel<T>, a.x.as<T>(), a.samples.as<uint32_t>(), a.out.as<T>(), static_cast<int>(a.out.columns));
  });
}

}  // namespace quire
