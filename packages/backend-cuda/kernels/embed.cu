// embed: rows of a table by id. One warp per token.
#include "lib/table_row.h"
#include "ops/layers.h"

namespace quire {
namespace {

template <class Table, class T>
__global__ void embedKernel(const uint32_t* ids, Table table, T* out, int tokens, int columns, int offset, int firstRow, int tableRows) {
  launchDependents();
  waitForPrevious();
  const int t = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (t >= tokens) return;
  const int64_t row = static_cast<int64_t>(ids[t]) + offset - firstRow;
  if (row < 0 || row >= tableRows) return;
  table.copyRow(out + static_cast<int64_t>(t) * columns, row, columns);
}

}  // namespace

cudaError_t embed(const Embed& a, const Step& s) {
  return withTable(a.table, [&](auto table) {
    return withDType(a.out.dtype, [&](auto* o) {
      using T = Element<decltype(o)>;
      return gpuLaunch({"embed", {ceilDiv(a.out.rows, 4)}, {128}, 0, s.stream}, embedKernel<decltype(table), T>, a.ids.as<uint32_t>(), table, a.out.as<T>(), a.out.rows,
                       static_cast<int>(a.out.columns), a.offset, a.firstRow, a.table.rows);
    });
  });
}

}  // namespace quire
