// linear with a q8 weight at many rows through a library, where a step need not be batch invariant: the codes become 16-bit numbers
// in the workspace, exactly, the library (or our form for floats, where that is faster) multiplies them, and one more kernel takes in
// the scales of the rows and makes the output, in pieces of rows whose sums stay in the second cache.
//
// By arithmetic, for an H200 at 4.3 TB/s: writing and reading 16-bit numbers beside the codes costs 5 bytes for each weight, 1.2 ps,
// and the epilogue, in the second cache, 0.4 fs for each product of 4096 columns; the library's 700 against our 370 TFLOP/s gain 2.6
// fs for each. It pays from some 500 rows on. Without a library it never does: the tiled form multiplies as fast and moves less.
//
// Weights of q4 have no such form: their scales change along K, and with its scale in it a weight is no 16-bit number.
#include <algorithm>

#include "output.h"
#include "quantized.h"

namespace quire {
namespace {

constexpr int kThreads = 256;
constexpr int kLeastRows = 512;
// Of the sums of a piece, and its rows.
constexpr int64_t kSumBytes = int64_t{32} << 20;
constexpr int kPieceRows = 128;

using Q8 = QuantFormat<8, false>;

// to[row][k]: a thread makes 8 of them. Rows go along x, which has room for any number, here and below.
template <class T>
__global__ void __launch_bounds__(kThreads) linearQuantExpand(const char* weight, QuantRecord record, T* to, int k) {
  launchDependents();
  waitForPrevious();
  const int column = static_cast<int>(blockIdx.y * kThreads + threadIdx.x) * 8;
  if (column >= k) return;
  const auto words = GPU_LOAD(reinterpret_cast<const uint2*>(weight + blockIdx.x * record.bytes + column));
  const uint4 pairs{codePair8<T>(words.x, 0), codePair8<T>(words.x, 1), codePair8<T>(words.y, 0), codePair8<T>(words.y, 1)};
  GPU_STORE(reinterpret_cast<uint4*>(to + static_cast<int64_t>(blockIdx.x) * k + column), pairs);
}

// A thread takes four columns.
__global__ void __launch_bounds__(kThreads) linearQuantEpilogue(const float* all, const char* weight, QuantRecord record, LinearOutput out, int weightRows) {
  launchDependents();
  waitForPrevious();
  const int column = static_cast<int>(blockIdx.y * kThreads + threadIdx.x) * 4, row = blockIdx.x;
  if (column >= out.n) return;
  auto load = [&](int first, float (&to)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (column + i >= out.n) break;
      const char* const scale = weight + (first + i) * record.bytes + record.codeBytes;
      to[i] = GPU_LOAD(all + static_cast<int64_t>(row) * weightRows + first + i) * *reinterpret_cast<const float*>(scale);
    }
  };
  float sums[4] = {}, ups[4] = {};
  load(column, sums);
  if (out.gated) load(out.n + column, ups);
  storeOutput(out, row, column, sums, ups);
}

size_t bytesOf(DType dtype) { return dtype == DType::f32 ? 4 : 2; }
size_t filled(size_t bytes) { return (bytes + 255) / 256 * 256; }

int pieceRows(const LinearProblem& p) {
  const int64_t rows = kSumBytes / (int64_t{p.weight.rows} * 4) / kPieceRows * kPieceRows;
  return static_cast<int>(std::min<int64_t>(p.rows(), std::max<int64_t>(rows, kPieceRows)));
}

// Where the parts of the workspace lie, behind that of the product of floats.
struct Parts {
  LinearProblem product;
  size_t inner, weight, bytes;
  Parts(const LinearProblem& p, const LinearLibrary& library) {
    product.x = p.x, product.x.rows = pieceRows(p);
    product.weight = {nullptr, p.x.dtype, p.weight.rows, p.weight.columns};
    product.out = {nullptr, DType::f32, pieceRows(p), p.weight.rows};
    inner = filled(std::max(linearWorkspace(product, false, &library), workspaceBytes(0)));
    weight = filled(static_cast<size_t>(p.weight.rows) * p.k() * 2);
    bytes = inner + weight + static_cast<size_t>(product.out.rows) * p.weight.rows * 4;
  }
};

Tensor rowsOf(Tensor t, int first, int rows) {
  if (t) t.data = t.as<char>() + static_cast<size_t>(first) * t.columns * bytesOf(t.dtype), t.rows = rows;
  return t;
}

// While it lives, no kernel starts before the one in front has ended: those that multiply ask for their weights at their start, and
// these are made by a kernel in front.
class WholeKernels {
 public:
  WholeKernels() : before_(dependentLaunches) { dependentLaunches = false; }
  ~WholeKernels() { dependentLaunches = before_; }
  WholeKernels(const WholeKernels&) = delete;

 private:
  bool before_;
};
cudaError_t multiply(const LinearProblem& product, const Step& s) {
  const WholeKernels whole;
  return linearLaunch(product, s);
}

cudaError_t expand(const LinearProblem& p, const QuantRecord& record, void* to, const Step& s) {
  return withDType(p.x.dtype, [&](auto* x) -> cudaError_t {
    using T = Element<decltype(x)>;
    if constexpr (sizeof(T) == 2) {
      const GpuLaunch l{"linearQuantExpand", {static_cast<unsigned>(p.weight.rows), ceilDiv(p.k(), 8 * kThreads)}, {kThreads}, 0, s.stream};
      return gpuLaunch(l, linearQuantExpand<T>, p.weight.as<char>(), record, static_cast<T*>(to), p.k());
    }
    return cudaErrorInvalidValue;
  });
}

}  // namespace

size_t linearQuantLibraryWorkspace(const LinearProblem& p, const LinearLibrary& library) {
  const bool suits = p.weight.dtype == DType::q8 && p.x.dtype != DType::f32 && p.rows() >= kLeastRows && p.k() % 8 == 0;
  return suits ? Parts(p, library).bytes : 0;
}

cudaError_t linearQuantLibraryLaunch(const LinearProblem& p, const Step& s) {
  const QuantRecord record = recordOf(p.weight.dtype, p.k());
  Parts parts(p, *s.linearLibrary);
  Step step = s;
  step.workspace.bytes = parts.inner;
  parts.product.weight.data = static_cast<char*>(s.workspace.data) + parts.inner;
  parts.product.out.data = parts.product.weight.as<char>() + parts.weight;
  cudaError_t error = expand(p, record, parts.product.weight.data, s);
  const int most = parts.product.out.rows;
  for (int first = 0; first < p.rows() && error == cudaSuccess; first += most) {
    const int rows = std::min(most, p.rows() - first);
    LinearProblem piece = p, product = parts.product;
    piece.out = rowsOf(p.out, first, rows), piece.residual = rowsOf(p.residual, first, rows);
    product.x = rowsOf(p.x, first, rows), product.out.rows = rows;
    error = multiply(product, step);
    if (error != cudaSuccess) break;
    const GpuLaunch l{p.gated ? "gatedLinearQuantEpilogue" : "linearQuantEpilogue", {static_cast<unsigned>(rows), ceilDiv(p.n(), 4 * kThreads)}, {kThreads}, 0, s.stream};
    error = gpuLaunch(l, linearQuantEpilogue, product.out.as<float>(), p.weight.as<char>(), record, makeOutput(piece), p.weight.rows);
  }
  return error;
}

}  // namespace quire
