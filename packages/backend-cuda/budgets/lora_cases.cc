// loraLinear, bf16: its two launches at projections of Llama 3.1 8B, every row with an adapter of its own.
#include "cases.h"

namespace budgets {
namespace {

using namespace quire;

Case loraCase(bool shrinks, const char* name, int rows, int depth, int columns, int rank, Scale scale) {
  if (scale == Scale::small) depth = depth < 512 ? depth : 512, columns = columns < 512 ? columns : 512;
  LoraLinear l{};
  l.slices = {1, {columns}};
  l.x = makeTensor(DType::bf16, rows, depth, Traffic::cached), l.out = makeTensor(DType::bf16, rows, columns, Traffic::cached);
  l.adapters = makeTensor(DType::u32, rows, 1, Traffic::cached), l.hidden = makeTensor(DType::f32, rows, rank, Traffic::cached);
  l.a = makeTensor(DType::bf16, rows, int64_t{rank} * depth, Traffic::streamed), l.b = makeTensor(DType::bf16, rows, int64_t{columns} * rank, Traffic::streamed);
  l.scales = makeTensor(DType::f32, rows, 1, Traffic::cached);
  fill<uint32_t>(l.adapters, [](int64_t i) { return static_cast<uint32_t>(i); });
  const double bytes = shrinks ? bytesOf(l.x) + bytesOf(l.a) + bytesOf(l.hidden) : bytesOf(l.hidden) + bytesOf(l.b) + bytesOf(l.scales) + 2 * bytesOf(l.out);
  const std::string shape = "8B " + std::string(name) + ", rank " + text(rank) + ", " + text(rows) + " rows";
  const double flops = 2.0 * rows * rank * (shrinks ? depth : columns);
  return {std::string(shrinks ? "loraShrink" : "loraExpand") + (rows > 1 ? "" : ", 1 row"), shape, bytes + bytesOf(l.adapters), flops,
          [=](int smCount) { return (shrinks ? loraShrink : loraExpand)(l, {{}, {}, smCount, nullptr, true}); }};
}

}  // namespace

std::vector<Case> loraCases(Scale scale) {
  return {
      loraCase(true, "o", 1, 4096, 4096, 16, scale), loraCase(true, "o", 64, 4096, 4096, 16, scale),
      loraCase(false, "o", 1, 4096, 4096, 16, scale), loraCase(false, "o", 64, 4096, 4096, 16, scale),
  };
}

}  // namespace budgets
