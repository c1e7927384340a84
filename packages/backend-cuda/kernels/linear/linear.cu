// linear: out = activation(x weight^T + bias) + residual. The choice of form is gatedLinear's too.
//
// The form depends on dtypes, K and addresses, and within the tensor cores' pair of forms on the number of rows:
//   f16 or bf16 throughout, rows of 16 bytes   up to 64 rows swapAb, above tiled: one family of equal bits. A step that need
//                                              not be batch invariant takes gemv up to 4 rows.
//   other dtypes, rows of 16 bytes             gemv, in f32
//   anything else                              streaming
#include "variants.h"

namespace quire {
namespace {

constexpr int kGemvRows = 4;

bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }
bool is16Bit(DType t) { return t == DType::f16 || t == DType::bf16; }

}  // namespace

bool hasWideRows(const LinearProblem& p) {
  const int pack = is16Bit(p.weight.dtype) ? 8 : 4;
  return p.k() % pack == 0 && aligned(p.x.data) && aligned(p.weight.data);
}

cudaError_t linearLaunch(const LinearProblem& p, const Step& s) {
  if (p.rows() == 0 || p.n() == 0) return cudaSuccess;
  if (!hasWideRows(p)) return linearStreamingLaunch(p, s);
  const bool tensorCores = is16Bit(p.x.dtype) && p.x.dtype == p.weight.dtype;
  if (!tensorCores || (!s.batchInvariant && p.rows() <= kGemvRows)) return linearGemvLaunch(p, s);
  return p.rows() <= kSwapAbRows ? linearSwapAbLaunch(p, s) : linearTiledLaunch(p, s);
}

cudaError_t linear(const Linear& a, const Step& s) {
  return linearLaunch({a.x, a.weight, a.out, a.bias, a.residual, a.activation, a.outColumn}, s);
}

}  // namespace quire
