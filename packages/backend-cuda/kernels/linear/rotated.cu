// linear of few rows with norms in front, and the rotation and the cache write of its output behind, in one launch: the product of
// normed.cu, which gives queries, keys and values. A block that is done with its tiles of 16 columns says so of the heads that each is
// part of; the one with which the last tile of a head arrives turns that head of every row, a warp for each, as ropeKvWrite does.
//
// Heads of whole tiles, or whole heads of a tile, and a cache of the activations' dtype. Correct in the emulator, speed not measured.
#include "../lib/crew.h"
#include "../lib/rotary_write.h"
#include "../ops/rotated.h"
#include "normed_product.h"

namespace quire {
namespace {

using namespace product;

constexpr int kTileColumns = 16;
// Columns that are turned together: of a head, or of the heads of a tile.
__host__ __device__ inline int columnsTogether(int headDim) { return headDim < kTileColumns ? kTileColumns : headDim; }

template <class T, int kStages>
__global__ void __launch_bounds__(kThreads, 1) linearRotated(Product<T> p, RotaryWrite<T, T> w, unsigned* arrived) {
  DYN_SHARED(char, shared);
  SHARED(float, rowSums, kNormedRows * kSumsOfRow);
  SHARED(NormStats, stats, kNormedRows);
  SHARED(bool, isLast, 1);
  const ProductPart<T, kStages, false> part(p, shared);
  part.fill();
  launchDependents();
  waitForPrevious();
  part.run(rowSums, stats, [] {});
  const int together = columnsTogether(w.shape.headDim), heads = together / w.shape.headDim;
  for (int tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
    const int part = tile * kTileColumns / together;
    if (!arriveLast(arrived + part, together / kTileColumns, isLast)) continue;
    for (int i = threadIdx.x / 32; i < p.out.rows * heads; i += kWarps) w.write(i / heads, part * heads + i % heads);
  }
}

template <class T, int kStages>
cudaError_t launchWith(const NormedProblem& problem, const RopeKvWrite& a, const Step& s) {
  const Product<T> p = productOf<T>(problem);
  const unsigned blocks = static_cast<unsigned>(p.tiles < s.smCount ? p.tiles : s.smCount);
  const GpuLaunch l{"linearRotated", {blocks}, {kThreads}, sharedBytes(problem, kStages), s.stream};
  return gpuLaunch(l, linearRotated<T, kStages>, p, rotaryWrite<T, T>(a), s.workspace.counters());
}

// The deeper ring where it leaves room for x.
template <class T>
cudaError_t launchFor(const NormedProblem& p, const RopeKvWrite& a, const Step& s) {
  return sharedBytes(p, kDeep) <= kMostShared ? launchWith<T, kDeep>(p, a, s) : launchWith<T, kShallow>(p, a, s);
}

}  // namespace

bool takesRotated(const Linear& a, const NormedInput& input, const RopeKvWrite& w) {
  const NormedProblem p = problemOf(a, input);
  const int64_t heads = w.shape.heads + 2 * w.shape.kvHeads, columns = heads * w.shape.headDim;
  if (!isTaken(p) || !hasTensorCores(p.linear) || w.qkv.dtype != a.x.dtype || w.kCache.dtype != a.x.dtype) return false;
  const int together = columnsTogether(w.shape.headDim);
  const bool areWhole = together % kTileColumns == 0 && together % w.shape.headDim == 0 && columns % together == 0;
  return areWhole && w.qkv.data == a.out.data && a.out.columns == columns && p.linear.n() == columns && columns / together <= static_cast<int64_t>(kWorkspaceCounters);
}

cudaError_t rotatedLinear(const Linear& a, const NormedInput& input, const RopeKvWrite& w, const Step& s) {
  const NormedProblem p = problemOf(a, input);
  return a.x.dtype == DType::f16 ? launchFor<__half>(p, w, s) : launchFor<__nv_bfloat16>(p, w, s);
}

}  // namespace quire
