// pagedAttention, pages of 16: decode forms and prefill at the geometries of real models.
#include "cases.h"
#include "kernels/lib/row_state.h"
#include "kernels/ops/attention_wgmma.h"

namespace budgets {
namespace {

using namespace quire;

constexpr int kBlockSize = 16;

// `queries` tokens of each of `rows` sequences, which see `context` positions.
struct Geometry {
  const char *kernel, *model;
  int heads, kvHeads, headDim, rows, queries, context;
  int smallKvHeads, smallRows, smallQueries, smallContext;
  DType dtype = DType::bf16;
  // Of keys and values, where it is not `dtype`.
  DType codes = DType::bf16;
  bool wgmma = false;
};

bool hasCodes(const Geometry& g) { return g.codes == DType::i8 || g.codes == DType::f8e4m3; }

// Of codes: bytes, of which the cases make tensors of half as many elements of 16 bits.
Tensor makeCache(const Geometry& g, int blocks, int64_t columns, Traffic traffic) {
  if (!hasCodes(g)) return makeTensor(g.dtype, blocks, columns, traffic);
  return {makeTensor(DType::bf16, blocks, columns / 2, traffic).data, g.codes, blocks, columns};
}

PagedAttention makeAttention(const Geometry& g) {
  PagedAttention a{};
  a.shape = {g.heads, g.kvHeads, g.headDim, kBlockSize};
  const int blocksPerRow = (g.context + kBlockSize - 1) / kBlockSize, blocks = 1 + g.rows * blocksPerRow;
  // Queries of one sequence share keys and values through the second cache.
  const Traffic cache = g.queries == 1 ? Traffic::streamed : Traffic::shared;
  // Those of prompts are more than their keys and values: requests of both keep the memory busy, as the bytes below count both.
  a.qkv = makeTensor(g.dtype, g.rows * g.queries, (g.heads + 2 * g.kvHeads) * g.headDim, g.queries == 1 ? Traffic::cached : Traffic::shared);
  a.kCache = makeCache(g, blocks, g.kvHeads * kBlockSize * g.headDim, cache);
  a.vCache = makeCache(g, blocks, g.kvHeads * kBlockSize * g.headDim, cache);
  if (hasCodes(g)) {
    a.kScales = makeTensor(DType::f32, blocks, g.kvHeads * kBlockSize, cache);
    a.vScales = makeTensor(DType::f32, blocks, g.kvHeads * kBlockSize, cache);
  }
  a.sequences = makeTensor(DType::u32, g.rows, SEQUENCE_WORDS, Traffic::cached);
  a.blockTables = makeTensor(DType::u32, g.rows, blocksPerRow, Traffic::cached);
  a.out = makeTensor(g.dtype, g.rows * g.queries, g.heads * g.headDim, Traffic::cached);
  a.scale = 0.125f;
  fill<uint32_t>(a.blockTables, [](int64_t i) { return static_cast<uint32_t>(i + 1); });
  fill<uint32_t>(a.sequences, [&](int64_t i) -> uint32_t {
    const int row = static_cast<int>(i / SEQUENCE_WORDS);
    switch (i % SEQUENCE_WORDS) {
      case Sequence::row: return row;
      case Sequence::queryStart: return row * g.queries;
      case Sequence::queryLen: return g.queries;
      case Sequence::contextLen: return g.context;
      case Sequence::firstPosition: return g.context - g.queries;
      default: return 0;
    }
  });
  return a;
}

Case makeCase(Geometry g, Scale scale) {
  if (scale == Scale::small) {
    g.heads = g.heads / g.kvHeads * g.smallKvHeads;
    g.kvHeads = g.smallKvHeads, g.rows = g.smallRows, g.queries = g.smallQueries, g.context = g.smallContext;
  }
  const PagedAttention a = makeAttention(g);
  const StepSizes sizes{g.rows * g.queries, g.rows, g.queries == 1 ? g.rows : 0, g.rows, static_cast<int>(a.blockTables.columns), g.queries, 0};
  // Small, on one SM: a block then has about as many tiles as at the real shape, and as few partial results among them.
  auto launch = [=](int smsOfChip) {
    const int smCount = scale == Scale::small ? 1 : smsOfChip;
    const size_t bytes = pagedAttentionWorkspace(a, sizes, smCount);
    const Step step{sizes, {allocate(bytes, Traffic::cached), bytes}, smCount, nullptr, true};
    return g.wgmma ? pagedAttentionWgmma(a, step) : pagedAttention(a, step);
  };
  const double tokens = static_cast<double>(g.rows) * g.queries, position = (g.dtype == DType::f32 ? 4.0 : 2.0) * g.headDim;
  const double cached = hasCodes(g) ? g.headDim + 4.0 : position;
  // Causal: of the last `queries` positions each sees half on average.
  const double seen = g.context - (g.queries - 1) / 2.0;
  const double bytes = tokens * g.heads * position * 2 + 2.0 * g.rows * g.context * g.kvHeads * cached + bytesOf(a.blockTables) + bytesOf(a.sequences);
  const std::string shape = std::string(g.model) + ", " + text(g.heads) + "/" + text(g.kvHeads) + " heads of " + text(g.headDim) + ", " + text(g.rows) + " x " + text(g.queries) + " queries, context " + text(g.context);
  return {g.kernel, shape, bytes, 4.0 * tokens * seen * g.heads * g.headDim, launch, g.wgmma};
}

}  // namespace

std::vector<Case> attentionCases(Scale scale) {
  const Geometry geometries[] = {
      {"decodeTensor group 1", "opt-125m", 12, 12, 64, 64, 1, 1024, 1, 11, 1, 1024},
      {"decodeTensor group 2", "Qwen3-0.6B", 16, 8, 128, 64, 1, 4096, 1, 11, 1, 2048},
      {"decodeTensor group 4", "8B", 32, 8, 128, 64, 1, 4096, 1, 11, 1, 2048},
      {"decodeTensor group 4, head dim 64", "1B", 32, 8, 64, 64, 1, 4096, 1, 11, 1, 2048},
      {"decodeTensor group 8", "70B", 64, 8, 128, 64, 1, 4096, 1, 11, 1, 2048},
      {"decodeTensor group 16", "group 16", 32, 2, 128, 64, 1, 4096, 1, 11, 1, 2048},
      {"decodeSimt f32", "opt-125m", 12, 12, 64, 64, 1, 1024, 1, 11, 1, 1024, DType::f32},
      {"prefill group 4", "8B", 32, 8, 128, 1, 2048, 2048, 1, 1, 256, 256},
      {"prefill group 2", "Qwen3-0.6B", 16, 8, 128, 1, 2048, 2048, 1, 1, 256, 256},
      {"prefill group 1", "opt-125m", 12, 12, 64, 1, 4096, 4096, 1, 1, 256, 256},
      {"prefill short", "8B, 64 prompts", 32, 8, 128, 64, 16, 16, 1, 4, 16, 16},
      {"prefill int8 cache", "8B", 32, 8, 128, 1, 2048, 2048, 1, 1, 256, 256, DType::bf16, DType::i8},
      {"prefill fp8 cache", "8B", 32, 8, 128, 1, 2048, 2048, 1, 1, 256, 256, DType::bf16, DType::f8e4m3},
      {"prefill int8 cache, head dim 64", "1B", 32, 8, 64, 1, 2048, 2048, 1, 1, 256, 256, DType::bf16, DType::i8},
      {"prefill int8 cache, short", "8B, 64 prompts", 32, 8, 128, 64, 16, 16, 1, 4, 16, 16, DType::bf16, DType::i8},
      {"decodeTensor int8 cache", "8B", 32, 8, 128, 64, 1, 4096, 1, 11, 1, 2048, DType::bf16, DType::i8},
      {"prefillWgmma group 4", "8B", 32, 8, 128, 1, 2048, 2048, 1, 1, 256, 256, DType::bf16, DType::bf16, true},
      {"prefillWgmma group 2", "Qwen3-0.6B", 16, 8, 128, 1, 2048, 2048, 1, 1, 256, 256, DType::bf16, DType::bf16, true},
      {"prefillWgmma group 1", "opt-125m", 12, 12, 64, 1, 4096, 4096, 1, 1, 256, 256, DType::bf16, DType::bf16, true},
  };
  std::vector<Case> cases;
  for (const Geometry& g : geometries) cases.push_back(makeCase(g, scale));
  return cases;
}

}  // namespace budgets
