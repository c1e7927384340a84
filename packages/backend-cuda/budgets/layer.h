// A layer of a model in decode, in 16 bits, as the operations that a plan makes of it: for budgets and for the benchmark of kernels.
#pragma once
#include "kernels/kernels.h"

namespace budgets {

struct LayerShape {
  const char* model;
  // RMS norms, rotation with norms of heads and a gated MLP; else layer norms, no rotation and relu.
  bool gated;
  int hidden, inner, heads, kvHeads, headDim;
  int blockSize = 16;

  int qkvColumns() const { return (heads + 2 * kvHeads) * headDim; }
  int attended() const { return heads * headDim; }
  quire::AttentionShape attention() const { return {heads, kvHeads, headDim, blockSize}; }
};
inline const LayerShape kOpt125M{"opt-125m", false, 768, 3072, 12, 12, 64}, kQwen06B{"Qwen3-0.6B", true, 1024, 3072, 16, 8, 128};

struct Layer {
  LayerShape shape;
  // Rows of all but the weights are those of the step.
  quire::Tensor x, qkv, mixed, inner;
  quire::Tensor qkvWeight, oWeight, upWeight, downWeight, scales, shifts, headScales;
  quire::Tensor positions, slots, table, kCache, vCache, sequences, blockTables;

  quire::NormedInput norm() const { return {{scales, shifts, 1e-5f, !shape.gated}}; }
  quire::Linear toQkv() const { return {x, qkvWeight, qkv, {}, {}, quire::Activation::none, 0}; }
  quire::RopeKvWrite rotation() const { return {qkv, positions, table, slots, kCache, vCache, shape.headDim, false, shape.attention(), {headScales, headScales, 1e-6f}}; }
  quire::KvWrite cacheWrite() const { return {qkv, slots, kCache, vCache, shape.attention()}; }
  quire::PagedAttention attention() const { return {qkv, kCache, vCache, sequences, blockTables, mixed, 0.125f, 0, 0, shape.attention()}; }
  quire::Linear toHidden() const { return {mixed, oWeight, x, {}, x, quire::Activation::none, 0}; }
  quire::Linear up() const { return {x, upWeight, inner, {}, {}, quire::Activation::relu, 0}; }
  quire::GatedLinear gatedUp() const { return {x, upWeight, inner, {}, quire::Activation::silu}; }
  quire::Linear down() const { return {inner, downWeight, x, {}, x, quire::Activation::none, 0}; }

  std::vector<quire::PlannedPhase> phases(const quire::Step& s) const {
    using quire::phaseOf;
    return {*phaseOf(toQkv(), norm(), s), shape.gated ? *phaseOf(rotation(), s) : *phaseOf(cacheWrite(), s), *phaseOf(attention(), s), *phaseOf(toHidden(), {}, s),
            shape.gated ? *phaseOf(gatedUp(), norm(), s) : *phaseOf(up(), norm(), s), *phaseOf(down(), {}, s)};
  }
  // A launch for each.
  cudaError_t launch(const quire::Step& s) const {
    cudaError_t e = normedLinear(toQkv(), norm(), s);
    if (e == cudaSuccess) e = shape.gated ? ropeKvWrite(rotation(), s) : kvWrite(cacheWrite(), s);
    if (e == cudaSuccess) e = pagedAttention(attention(), s);
    if (e == cudaSuccess) e = linear(toHidden(), s);
    if (e == cudaSuccess) e = shape.gated ? normedLinear(gatedUp(), norm(), s) : normedLinear(up(), norm(), s);
    return e == cudaSuccess ? linear(down(), s) : e;
  }
};

// What a persistent launch of these phases is given; `memory` is of so many phases, the barrier a word that is 0.
inline quire::PersistentStep persistentOf(const std::vector<quire::PlannedPhase>& phases, const quire::Phase* memory, unsigned* barrier) {
  quire::PersistentStep p{memory, static_cast<int>(phases.size()), barrier, phases.front().dtype, 0, 0};
  for (const auto& phase : phases) {
    p.headDim = phase.headDim > p.headDim ? phase.headDim : p.headDim;
    p.sharedBytes = phase.sharedBytes > p.sharedBytes ? phase.sharedBytes : p.sharedBytes;
  }
  return p;
}

}  // namespace budgets
