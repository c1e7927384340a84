// rmsNorm and ropeKvWrite, bf16, at the size of Llama 3.1 8B.
#include "cases.h"

namespace budgets {
namespace {

using namespace quire;

Case rmsNormCase(int rows, bool residual, Scale scale) {
  const bool small = scale == Scale::small;
  const int columns = 4096;
  if (small) rows = rows < 8 ? rows : 8;
  RmsNorm a{};
  a.x = makeTensor(DType::bf16, rows, columns, Traffic::streamed), a.out = makeTensor(DType::bf16, rows, columns, Traffic::streamed);
  a.weight = makeTensor(DType::bf16, 1, columns, Traffic::cached);
  a.eps = 1e-5f;
  double bytes = bytesOf(a.x) + bytesOf(a.out) + bytesOf(a.weight);
  if (residual) {
    a.residual = makeTensor(DType::bf16, rows, columns, Traffic::streamed), a.sum = makeTensor(DType::bf16, rows, columns, Traffic::streamed);
    bytes += bytesOf(a.residual) + bytesOf(a.sum);
  }
  const std::string kernel = std::string(residual ? "rmsNorm with residual" : "rmsNorm") + (rows > 1 ? "" : ", 1 row");
  return {kernel, "8B, " + text(rows) + " x " + text(columns), bytes, 4.0 * rows * columns, [=](int smCount) { return rmsNorm(a, {{}, {}, smCount, nullptr, true}); }};
}

Case ropeKvWriteCase(const char* kernel, int tokens, Scale scale) {
  if (scale == Scale::small) tokens = tokens < 16 ? tokens : 16;
  RopeKvWrite a{};
  a.shape = {32, 8, 128, 16};
  a.rotaryDim = a.shape.headDim;
  const int blocks = 1 + (tokens + 15) / 16, width = (a.shape.heads + 2 * a.shape.kvHeads) * a.shape.headDim;
  // A lane reads again what it has just rotated.
  a.qkv = makeTensor(DType::bf16, tokens, width, Traffic::cached);
  a.positions = makeTensor(DType::u32, tokens, 1, Traffic::cached), a.slotMapping = makeTensor(DType::u32, tokens, 1, Traffic::cached);
  a.table = makeTensor(DType::f32, tokens, a.rotaryDim, Traffic::cached);
  a.kCache = makeTensor(DType::bf16, blocks, a.shape.kvHeads * 16 * a.shape.headDim, Traffic::streamed);
  a.vCache = makeTensor(DType::bf16, blocks, a.shape.kvHeads * 16 * a.shape.headDim, Traffic::streamed);
  fill<uint32_t>(a.positions, [](int64_t i) { return static_cast<uint32_t>(i); });
  fill<uint32_t>(a.slotMapping, [](int64_t i) { return static_cast<uint32_t>(i + 16); });
  // Queries and keys are read and written in place; keys and values go into the cache.
  const double head = 2.0 * a.shape.headDim, heads = a.shape.heads, kvHeads = a.shape.kvHeads;
  const double bytes = tokens * head * (2 * (heads + kvHeads) + kvHeads + 2 * kvHeads) + bytesOf(a.table) + bytesOf(a.positions) + bytesOf(a.slotMapping);
  return {kernel, "8B, " + text(tokens) + " tokens", bytes, 3.0 * tokens * (heads + kvHeads) * a.shape.headDim, [=](int smCount) { return ropeKvWrite(a, {{}, {}, smCount, nullptr, true}); }};
}

}  // namespace

std::vector<Case> rowCases(Scale scale) {
  return {
      rmsNormCase(1, true, scale), rmsNormCase(2048, true, scale), rmsNormCase(2048, false, scale),
      ropeKvWriteCase("ropeKvWrite, 1 token", 1, scale), ropeKvWriteCase("ropeKvWrite", 2048, scale),
  };
}

}  // namespace budgets
