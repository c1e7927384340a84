// A product with norms of its input in front; see ops/joint.h.
#pragma once
#include "../lib/row_norm.h"
#include "../ops/joint.h"
#include "variants.h"

namespace quire {

// Without a norm it is the product alone.
struct NormedProblem {
  LinearProblem linear;
  NormedInput input;
};
inline NormedProblem problemOf(const Linear& a, const NormedInput& input) { return {{a.x, a.weight, a.out, a.bias, a.residual, a.activation, a.outColumn}, input}; }
inline NormedProblem problemOf(const GatedLinear& a, const NormedInput& input) { return {{a.x, a.weight, a.out, a.bias, {}, a.activation, 0, true}, input}; }

// Dtypes that tensor cores take.
bool hasTensorCores(const LinearProblem&);

constexpr int kNormedRows = 8;
// Whether normedLinear takes it, but for that it needs a norm.
bool isTaken(const NormedProblem&);

// gemv, of the norm of x where there is one; then of at most kNormedRows rows.
cudaError_t linearGemvLaunch(const LinearProblem&, const RowNorm&, const Step&);

}  // namespace quire
