// A product with norms of its input in front; see ops/joint.h.
#pragma once
#include "../lib/row_norm.h"
#include "../ops/joint.h"
#include "variants.h"

namespace quire {

// As kernels take it.
inline RowNorm rowNorm(const InputNorm& n) { return {n.weight.data, n.bias.data, n.weight.dtype, n.eps, n.centred}; }

constexpr int kNormedRows = 8;
// gemv, of the norm of x where there is one; then of at most kNormedRows rows.
cudaError_t linearGemvLaunch(const LinearProblem&, const RowNorm&, const Step&);

}  // namespace quire
