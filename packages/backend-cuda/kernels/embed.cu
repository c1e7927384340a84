// embed: rows of a table by id. One warp per token, 16 bytes per lane where rows allow.
#include "lib/elements.h"
#include "ops/layers.h"

namespace quire {
namespace {

template <class W, class T>
__global__ void embedKernel(const uint32_t* ids, const W* table, T* out, int tokens, int columns, int offset, int firstRow, int tableRows) {
  launchDependents();
  waitForPrevious();
  const int t = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (t >= tokens) return;
  const int64_t row = static_cast<int64_t>(ids[t]) + offset - firstRow;
  if (row < 0 || row >= tableRows) return;
  for (int c = threadIdx.x % 32; c < columns; c += 32) out[static_cast<int64_t>(t) * columns + c] = fromFloat<T>(toFloat(GPU_LOAD(table + row * columns + c)));
}

}  // namespace

cudaError_t embed(const Embed& a, const Step& s) {
  return withDType(a.table.dtype, [&](auto* w) {
    return withDType(a.out.dtype, [&](auto* o) {
      using W = Element<decltype(w)>;
      using T = Element<decltype(o)>;
      return gpuLaunch({"embed", {ceilDiv(a.out.rows, 4)}, {128}, 0, s.stream}, embedKernel<W, T>, a.ids.as<uint32_t>(), a.table.as<W>(), a.out.as<T>(), a.out.rows,
                       static_cast<int>(a.out.columns), a.offset, a.firstRow, a.table.rows);
    });
  });
}

}  // namespace quire
