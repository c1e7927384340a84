// vocabParallelEmbed: rows of this rank's part of a table by id, zeros for those of the others. One warp per token.
#include "collectives.h"
#include "lib/table_row.h"

namespace quire {
namespace {

template <class Table, class T>
__global__ void vocabParallelEmbedKernel(const uint32_t* ids, Table table, T* out, int tokens, int columns, int64_t rankStart, int rowsPerRank, int firstRow, int tableRows) {
  launchDependents();
  waitForPrevious();
  const int t = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (t >= tokens) return;
  const int64_t own = static_cast<int64_t>(ids[t]) - rankStart, row = own - firstRow;
  const bool isOwn = own >= 0 && own < rowsPerRank, isHere = row >= 0 && row < tableRows;
  // Another part of this rank's rows has it.
  if (isOwn && !isHere) return;
  T* const to = out + static_cast<int64_t>(t) * columns;
  if (isOwn) return table.copyRow(to, row, columns);
  for (int c = threadIdx.x % 32; c < columns; c += 32) to[c] = fromFloat<T>(0.0f);
}

}  // namespace

cudaError_t vocabParallelEmbed(const VocabParallelEmbed& a, const Step& s) {
  return withTable(a.table, [&](auto table) {
    return withDType(a.out.dtype, [&](auto* o) {
      using T = Element<decltype(o)>;
      return gpuLaunch({"vocabParallelEmbed", {ceilDiv(a.out.rows, 4)}, {128}, 0, s.stream}, vocabParallelEmbedKernel<decltype(table), T>, a.ids.as<uint32_t>(), table, a.out.as<T>(),
                       a.out.rows, static_cast<int>(a.out.columns), static_cast<int64_t>(a.rank) * a.rowsPerRank, a.rowsPerRank, a.firstRow, a.table.rows);
    });
  });
}

}  // namespace quire
