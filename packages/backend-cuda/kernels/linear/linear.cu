// linear: out = activation(x weight^T + bias) + residual. The choice of form is gatedLinear's too.
//
// The form depends on dtypes, K and addresses, and within the tensor cores' pair of forms on the number of rows:
//   f16 or bf16 throughout, rows of 16 bytes   up to 64 rows swapAb, above tiled: one family of equal bits.
//   other dtypes, rows of 16 bytes             gemv, in f32
//   anything else                              streaming
#include "variants.h"

namespace quire {
namespace {

bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }
bool is16Bit(DType t) { return t == DType::f16 || t == DType::bf16; }

}  // namespace

bool hasWideRows(const LinearProblem& p) {
  const int pack = is16Bit(p.weight.dtype) ? 8 : 4;
  return p.k() % pack == 0 && aligned(p.x.data) && aligned(p.weight.data);
}

cudaError_t linearLaunch(const LinearProblem& p, const Step& s) {
  if (p.rows() == 0 || p.n() == 0) return cudaSuccess;
  cudaError_t error = cudaSuccess;
  if (s.linearLibrary != nullptr && s.linearLibrary->launch(p, s, error)) return error;
  return error == cudaSuccess ? linearOwnLaunch(p, s) : error;
}

cudaError_t linearOwnLaunch(const LinearProblem& p, const Step& s) {
  if (!hasWideRows(p)) return linearStreamingLaunch(p, s);
  const bool tensorCores = is16Bit(p.x.dtype) && p.x.dtype == p.weight.dtype;
  if (!tensorCores) return linearGemvLaunch(p, s);
  return p.rows() <= kSwapAbRows ? linearSwapAbLaunch(p, s) : linearTiledLaunch(p, s);
}

namespace {
LinearProblem problemOf(const Linear& a) { return {a.x, a.weight, a.out, a.bias, a.residual, a.activation, a.outColumn}; }
}  // namespace

cudaError_t linear(const Linear& a, const Step& s) { return linearLaunch(problemOf(a), s); }

size_t linearWorkspace(const Linear& a, const LinearLibrary* library) { return library == nullptr ? 0 : library->workspace(problemOf(a)); }

}  // namespace quire
