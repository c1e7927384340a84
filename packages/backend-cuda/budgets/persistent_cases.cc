// A layer of a small model as phases of a persistent step, bf16.
#include <cstring>

#include "cases.h"
#include "kernels/lib/row_state.h"
#include "layer.h"

namespace budgets {
namespace {

using namespace quire;

Tensor cached(DType dtype, int rows, int64_t columns) { return makeTensor(dtype, rows, columns, Traffic::cached); }
Tensor streamed(int rows, int64_t columns) { return makeTensor(DType::bf16, rows, columns, Traffic::streamed); }

// Every row at the end of its context.
Layer makeLayer(const LayerShape& s, int rows, int context) {
  const int blocksPerRow = (context + s.blockSize - 1) / s.blockSize, blocks = 1 + rows * blocksPerRow;
  auto activations = [&](int columns) { return cached(DType::bf16, rows, columns); };
  auto vector = [&](int columns) { return cached(DType::bf16, 1, columns); };
  Layer l{s, activations(s.hidden), activations(s.qkvColumns()), activations(s.attended()), activations(s.inner),
          streamed(s.qkvColumns(), s.hidden), streamed(s.hidden, s.attended()), streamed((s.gated ? 2 : 1) * s.inner, s.hidden), streamed(s.hidden, s.inner),
          vector(s.hidden), s.gated ? Tensor{} : vector(s.hidden), vector(s.headDim),
          cached(DType::u32, rows, 1), cached(DType::u32, rows, 1), cached(DType::f32, 1, s.headDim), streamed(blocks, s.kvHeads * s.blockSize * s.headDim), streamed(blocks, s.kvHeads * s.blockSize * s.headDim),
          cached(DType::u32, rows, SEQUENCE_WORDS), cached(DType::u32, rows, blocksPerRow)};
  fill<uint32_t>(l.blockTables, [](int64_t i) { return static_cast<uint32_t>(i + 1); });
  fill<uint32_t>(l.slots, [&](int64_t i) { return static_cast<uint32_t>((1 + i * blocksPerRow) * s.blockSize + context - 1); });
  fill<uint32_t>(l.sequences, [&](int64_t i) -> uint32_t {
    const int row = static_cast<int>(i / SEQUENCE_WORDS);
    switch (i % SEQUENCE_WORDS) {
      case Sequence::row: return row;
      case Sequence::queryStart: return row;
      case Sequence::queryLen: return 1;
      case Sequence::contextLen: return context;
      case Sequence::firstPosition: return context - 1;
      default: return 0;
    }
  });
  return l;
}

Case layerCase(const LayerShape& shape, int rows, Scale scale, int smCount) {
  const int context = scale == Scale::small ? 128 : 512;
  const Layer l = makeLayer(shape, rows, context);
  const size_t workspace = persistentWorkspace(l.attention(), smCount);
  const Step step{{rows, rows, rows, rows, static_cast<int>(l.blockTables.columns), 1, 0}, {allocate(workspace, Traffic::cached), workspace}, smCount, nullptr};
  const auto phases = l.phases(step);
  auto* const memory = static_cast<Phase*>(allocate(phases.size() * sizeof(Phase), Traffic::cached));
  for (size_t i = 0; executes() && i < phases.size(); i++) memcpy(&memory[i], &phases[i].phase, sizeof(Phase));
  const PersistentStep p = persistentOf(phases, memory, static_cast<unsigned*>(allocate(sizeof(unsigned), Traffic::cached)));
  auto launch = [=](int sms) {
    Step s = step;
    s.smCount = sms;
    bool taken = false;
    const cudaError_t error = persistentStep(p, s, taken);
    return error == cudaSuccess && !taken ? cudaErrorInvalidValue : error;
  };
  const double weights = bytesOf(l.qkvWeight) + bytesOf(l.oWeight) + bytesOf(l.upWeight) + bytesOf(l.downWeight);
  const double cache = 2.0 * 2 * rows * context * shape.kvHeads * shape.headDim;
  const double flops = rows * (weights + 4.0 * context * shape.attended());
  return {"persistentStep, " + text(rows) + (rows > 1 ? " rows" : " row"), std::string(shape.model) + ", a layer, context " + text(context), weights + cache, flops, launch};
}

}  // namespace

std::vector<Case> persistentCases(Scale scale, int smCount) {
  std::vector<Case> cases;
  for (const LayerShape& shape : {kOpt125M, kQwen06B}) {
    for (const int rows : {1, 4}) cases.push_back(layerCase(shape, rows, scale, smCount));
  }
  return cases;
}

}  // namespace budgets
