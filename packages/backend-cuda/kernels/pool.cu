// pool: of each live sequence the hidden state of its last token, or the sum over its tokens, into its row. A thread adds up one
// column of one sequence, token after token and on from what is there: so the bits of a sum do not depend on how a prompt is cut.
#include "lib/elements.h"
#include "lib/row_state.h"
#include "ops/columns.h"

namespace quire {
namespace {

constexpr int kThreads = 128;

template <class T>
__global__ void poolKernel(const T* x, const uint32_t* sequences, float* out, int columns, bool sum) {
  launchDependents();
  waitForPrevious();
  const uint32_t* sequence = sequences + blockIdx.x * SEQUENCE_WORDS;
  const int column = blockIdx.y * kThreads + threadIdx.x;
  if (sequence[Sequence::contextLen] == 0 || column >= columns) return;
  float* const to = out + static_cast<int64_t>(sequence[Sequence::row]) * columns + column;
  const uint32_t count = sequence[Sequence::queryLen];
  const T* from = x + static_cast<int64_t>(sequence[Sequence::queryStart]) * columns + column;
  if (!sum) {
    *to = toFloat(GPU_LOAD(from + static_cast<int64_t>(count - 1) * columns));
    return;
  }
  float total = sequence[Sequence::firstPosition] > 0 ? *to : 0.0f;
  // Several loads are under way at once.
#pragma unroll 8
  for (uint32_t i = 0; i < count; i++) total += toFloat(GPU_LOAD(from + static_cast<int64_t>(i) * columns));
  *to = total;
}

}  // namespace

cudaError_t pool(const Pool& a, const Step& s) {
  if (a.sequences.rows == 0) return cudaSuccess;
  return withDType(a.x.dtype, [&](auto* x) {
    using T = Element<decltype(x)>;
    const int columns = static_cast<int>(a.x.columns);
    const dim3 grid{static_cast<unsigned>(a.sequences.rows), ceilDiv(columns, kThreads)};
    return gpuLaunch({"pool", grid, {kThreads}, 0, s.stream}, poolKernel<T>, a.x.as<T>(), a.sequences.as<uint32_t>(), a.out.as<float>(), columns, a.sum);
  });
}

}  // namespace quire
