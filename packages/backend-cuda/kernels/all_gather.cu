// allGather: the columns of all ranks side by side. The communicator brings them one rank after the other; a kernel puts them in
// their rows.
#include "collectives.h"
#include "lib/elements.h"

namespace quire {
namespace {

// parts [ranks, rows, width] to out [rows, columns]; columns beyond those of all ranks stay as they are.
template <class T>
__global__ void sideBySideKernel(const T* parts, T* out, int rows, int64_t width, int64_t columns, int ranks) {
  launchDependents();
  waitForPrevious();
  const int64_t filled = width * ranks < columns ? width * ranks : columns;
  const int64_t count = rows * filled;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const int64_t row = i / filled, column = i % filled, rank = column / width;
    out[row * columns + column] = GPU_LOAD(parts + (rank * rows + row) * width + column % width);
  }
}

}  // namespace

size_t allGatherWorkspace(const AllGather& a) {
  if (a.ranks == nullptr) return 0;
  return workspaceBytes(static_cast<size_t>(a.ranks->size) * a.x.rows * a.x.columns * (a.x.dtype == DType::f32 ? 4 : 2));
}

cudaError_t allGather(const AllGather& a, const Step& s) {
  const int64_t count = a.x.rows * a.x.columns;
  if (count == 0) return cudaSuccess;
  const int ranks = a.ranks == nullptr ? 1 : a.ranks->size;
  const void* parts = a.x.data;
  if (a.ranks != nullptr) {
    parts = s.workspace.scratch<void>();
    const cudaError_t e = a.ranks->allGather(a.x.data, s.workspace.scratch<void>(), count, a.x.dtype, s.stream);
    if (e != cudaSuccess) return e;
  }
  return withDType(a.out.dtype, [&](auto* o) {
    using T = Element<decltype(o)>;
    const int64_t outCount = static_cast<int64_t>(a.out.rows) * a.out.columns;
    const unsigned blocks = ceilDiv(outCount, 256) < 8u * s.smCount ? ceilDiv(outCount, 256) : 8u * s.smCount;
    return gpuLaunch({"sideBySide", {blocks}, {256}, 0, s.stream}, sideBySideKernel<T>, static_cast<const T*>(parts), a.out.as<T>(), a.out.rows, a.x.columns, a.out.columns, ranks);
  });
}

}  // namespace quire
