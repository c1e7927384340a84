// linear: out = activation(x weight^T + bias) + residual. The choice of form is gatedLinear's too.
//
// The form depends on dtypes, K and addresses, and within the tensor cores' pair of forms on the number of rows:
//   f16 or bf16 throughout, rows of 16 bytes   up to 64 rows swapAb, above tiled: one family of equal bits. A step that need
//                                              not be batch invariant takes split from 17 rows on, but for small weights.
//   other dtypes, rows of 16 bytes             gemv, in f32
//   anything else                              streaming
//   a quantised weight                         quantized.cu chooses
#include <algorithm>

#include "normed.h"
#include "quantized.h"

namespace quire {
namespace {

bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }
bool is16Bit(DType t) { return t == DType::f16 || t == DType::bf16; }
constexpr int kLeastSplitRows = 17;
// Of a weight so small the parts of K would be too short, up to so many rows: adding them costs more than it gains.
constexpr int64_t kSmallWeight = int64_t{8} << 20;
constexpr int kSmallWeightRows = 512;

bool suitsSplit(const LinearProblem& p) {
  const bool isSmall = p.weight.rows * p.weight.columns <= kSmallWeight;
  return p.rows() >= kLeastSplitRows && !(isSmall && p.rows() <= kSmallWeightRows);
}

}  // namespace

bool hasTensorCores(const LinearProblem& p) { return is16Bit(p.x.dtype) && p.x.dtype == p.weight.dtype; }

bool hasWideRows(const LinearProblem& p) {
  const int pack = is16Bit(p.weight.dtype) ? 8 : 4;
  return p.k() % pack == 0 && aligned(p.x.data) && aligned(p.weight.data);
}

cudaError_t linearLaunch(const LinearProblem& p, const Step& s) {
  if (p.rows() == 0 || p.n() == 0) return cudaSuccess;
  if (isQuantized(p.weight.dtype)) return linearQuantLaunch(p, s);
  cudaError_t error = cudaSuccess;
  if (s.linearLibrary != nullptr && s.linearLibrary->launch(p, s, error)) return error;
  return error == cudaSuccess ? linearOwnLaunch(p, s) : error;
}

cudaError_t linearOwnLaunch(const LinearProblem& p, const Step& s) {
  if (!hasWideRows(p)) return linearStreamingLaunch(p, s);
  if (!hasTensorCores(p)) return linearGemvLaunch(p, s);
  if (!s.batchInvariant && suitsSplit(p) && s.workspace.bytes >= workspaceBytes(kSplitScratch)) return linearSplitLaunch(p, s);
  return p.rows() <= kSwapAbRows ? linearSwapAbLaunch(p, s) : linearTiledLaunch(p, s);
}

size_t linearWorkspace(const LinearProblem& p, bool batchInvariant, const LinearLibrary* library) {
  if (isQuantized(p.weight.dtype)) return batchInvariant || library == nullptr ? 0 : linearQuantLibraryWorkspace(p, *library);
  const size_t own = !batchInvariant && p.rows() >= kLeastSplitRows && hasTensorCores(p) ? workspaceBytes(kSplitScratch) : 0;
  return std::max(own, library == nullptr ? 0 : library->workspace(p));
}

namespace {
LinearProblem problemOf(const Linear& a) { return {a.x, a.weight, a.out, a.bias, a.residual, a.activation, a.outColumn}; }
}  // namespace

cudaError_t linear(const Linear& a, const Step& s) { return linearLaunch(problemOf(a), s); }

size_t linearWorkspace(const Linear& a, bool batchInvariant, const LinearLibrary* library) { return linearWorkspace(problemOf(a), batchInvariant, library); }

}  // namespace quire
