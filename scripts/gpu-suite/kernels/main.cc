// kernel-bench [SECONDS [GROUP...]] times the kernels of packages/backend-cuda at the shapes of real models and prints JSON
// lines with the share of the physical limit. Groups: linear, decode, prefill, small, layer. A subject's name says op, form and shape;
// the form `chosen` is what a step that need not be batch invariant takes, cuBLASLt included where it is found.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>

#include "bench.h"
#include "budgets/layer.h"
#include "kernels/lib/row_state.h"
#include "kernels/ops/attention_wgmma.h"
#include "kernels/linear/variants.h"
#include "libraries/tuned-linear.h"

using namespace quire;

namespace {

constexpr DType kType = DType::bf16;
constexpr int kElement = 2, kBlockSize = 16;

struct Model {
  const char* name;
  int hidden, intermediate, heads, kvHeads, headDim, vocab;
  bool gated;
};
constexpr Model kLlama8B{"8b", 4096, 14336, 32, 8, 128, 128256, true};
constexpr Model kQwen06B{"0.6b", 1024, 3072, 16, 8, 128, 151936, true};
constexpr Model kOpt125M{"125m", 768, 3072, 12, 12, 64, 50272, false};

std::string text(int n) { return std::to_string(n); }

using Form = cudaError_t (*)(const LinearProblem&, const Step&);
struct NamedForm {
  const char* name;
  Form form;
  int leastRows, mostRows;
};
constexpr NamedForm kForms[] = {{"gemv", linearGemvLaunch, 1, 8}, {"swapAb", linearSwapAbLaunch, 1, 64}, {"split", linearSplitLaunch, 17, 1 << 20},
                                {"tiled", linearTiledLaunch, 65, 1 << 20}, {"chosen", linearLaunch, 1, 1 << 20}};

// Every form that takes so many rows.
void linear(Bench& bench, const char* model, const char* what, int n, int k, bool gated, const std::vector<int>& rowCounts) {
  Arena arena(bench.stream());
  const int weightRows = gated ? 2 * n : n;
  const double weightBytes = static_cast<double>(weightRows) * k * kElement;
  const int replicas = replicasOf(weightBytes);
  std::vector<Tensor> weights;
  for (int i = 0; i < replicas; i++) weights.push_back(arena.tensor(kType, weightRows, k));
  for (const int rows : rowCounts) {
    const Tensor x = arena.tensor(kType, rows, k), out = arena.tensor(kType, rows, n);
    for (const auto& [name, form, least, most] : kForms) {
      if (rows < least || rows > most) continue;
      const Subject subject{std::string("linear.") + name + "." + model + "." + what + "." + text(rows) + "x" + text(weightRows) + "x" + text(k),
                            weightBytes + static_cast<double>(rows) * (k + n) * kElement, 2.0 * rows * weightRows * k, replicas};
      bench.time(subject, [&](int i) {
        LinearProblem p{x, weights[i], out};
        p.gated = gated, p.activation = gated ? Activation::silu : Activation::none;
        return form(p, bench.step());
      });
    }
  }
}

std::unique_ptr<TunedLinear> openLibrary(int smCount) {
  try {
    return std::make_unique<TunedLinear>(0, smCount, "");
  } catch (const std::runtime_error& error) {
    std::printf("{\"name\":\"cuBLASLt\",\"error\":\"%s\"}\n", error.what());
    return nullptr;
  }
}

void linears(Bench& bench) {
  const std::unique_ptr<TunedLinear> library = openLibrary(bench.step().smCount);
  bench.step().batchInvariant = false, bench.step().linearLibrary = library.get();
  bench.reserveWorkspace(size_t{160} << 20);
  const std::vector<int> rows{1, 4, 8, 16, 32, 64, 128, 256, 2048};
  for (const Model& m : {kLlama8B, kQwen06B}) {
    linear(bench, m.name, "qkv", (m.heads + 2 * m.kvHeads) * m.headDim, m.hidden, false, rows);
    linear(bench, m.name, "o", m.hidden, m.heads * m.headDim, false, rows);
    linear(bench, m.name, "gateUp", m.intermediate, m.hidden, true, rows);
    linear(bench, m.name, "down", m.hidden, m.intermediate, false, rows);
    linear(bench, m.name, "head", m.vocab, m.hidden, false, {1, 16, 64});
  }
  linear(bench, "125m", "fc1", kOpt125M.intermediate, kOpt125M.hidden, false, {1, 16, 64});
  linear(bench, "125m", "fc2", kOpt125M.hidden, kOpt125M.intermediate, false, {1, 16, 64});
  bench.step().batchInvariant = true, bench.step().linearLibrary = nullptr;
}

// Sequences of the given context lengths and `queryLen` queries each, over shuffled pages.
void attention(Bench& bench, const Model& m, const std::string& what, const std::vector<int>& lengths, int queryLen) {
  Arena arena(bench.stream());
  const int count = static_cast<int>(lengths.size()), longest = *std::max_element(lengths.begin(), lengths.end()), tableWidth = (longest + kBlockSize - 1) / kBlockSize;
  int blocks = 1;
  for (const int length : lengths) blocks += (length + kBlockSize - 1) / kBlockSize;
  std::vector<uint32_t> order(blocks - 1), table(static_cast<size_t>(count) * tableWidth), sequences(static_cast<size_t>(count) * SEQUENCE_WORDS);
  for (int i = 0; i + 1 < blocks; i++) order[i] = i + 1;
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  double positions = 0, scores = 0;
  for (int i = 0, used = 0; i < count; i++) {
    for (int b = 0; b < (lengths[i] + kBlockSize - 1) / kBlockSize; b++) table[static_cast<size_t>(i) * tableWidth + b] = order[used++];
    uint32_t* record = &sequences[static_cast<size_t>(i) * SEQUENCE_WORDS];
    record[Sequence::row] = i, record[Sequence::queryStart] = i * queryLen, record[Sequence::queryLen] = queryLen, record[Sequence::contextLen] = lengths[i];
    positions += lengths[i];
    scores += static_cast<double>(queryLen) * (lengths[i] - (queryLen - 1) / 2.0);
  }
  const double kvBytes = positions * 2 * m.kvHeads * m.headDim * kElement;
  const int replicas = std::min(replicasOf(kvBytes), 16), width = (m.heads + 2 * m.kvHeads) * m.headDim, tokens = count * queryLen;
  std::vector<Tensor> keys, values;
  for (int i = 0; i < replicas; i++) {
    keys.push_back(arena.tensor(kType, blocks, static_cast<int64_t>(m.kvHeads) * kBlockSize * m.headDim));
    values.push_back(arena.tensor(kType, blocks, static_cast<int64_t>(m.kvHeads) * kBlockSize * m.headDim));
  }
  PagedAttention a{arena.tensor(kType, tokens, width), keys[0], values[0], arena.words(count, SEQUENCE_WORDS, sequences), arena.words(count, tableWidth, table), arena.tensor(kType, tokens, m.heads * m.headDim),
                   static_cast<float>(1 / std::sqrt(m.headDim)), 0, 0, {m.heads, m.kvHeads, m.headDim, kBlockSize}};
  const int decoding = queryLen == 1 ? count : 0;
  Step& step = bench.step();
  step.sizes = {tokens, count, decoding, count, tableWidth, queryLen, 0};
  bench.reserveWorkspace(pagedAttentionWorkspace(a, step.sizes, step.smCount));
  Subject subject{(queryLen == 1 ? "decode." : "prefill.") + std::string(m.name) + "." + what, decoding > 0 ? kvBytes : 0, decoding > 0 ? 0 : 4.0 * scores * m.heads * m.headDim, decoding > 0 ? replicas : 4};
  auto time = [&](const Subject& subject, cudaError_t (*launch)(const PagedAttention&, const Step&)) {
    bench.time(subject, [&](int i) {
      a.kCache = keys[i % replicas], a.vCache = values[i % replicas];
      return launch(a, bench.step());
    });
  };
  time(subject, pagedAttention);
  if (queryLen == 1 || !wgmmaTakes(a) || !chipHasWgmma()) return;
  subject.name += ".wgmma";
  time(subject, pagedAttentionWgmma);
}

void decodes(Bench& bench) {
  for (const Model& m : {kLlama8B, kQwen06B, kOpt125M}) {
    for (const auto& [count, length] : {std::pair{1, 1024}, {1, 4096}, {1, 16384}, {16, 1024}, {64, 1024}, {64, 4096}, {256, 1024}}) {
      if (m.headDim == 64 && length > 2048) continue;
      attention(bench, m, text(count) + "x" + text(length), std::vector<int>(count, length), 1);
    }
  }
  // Equal bytes: 64 even rows, and one long row among short ones.
  std::vector<int> mixed(63, 1024);
  mixed.push_back(65536);
  attention(bench, kLlama8B, "63x1024+65536", mixed, 1);
  attention(bench, kLlama8B, "64x2032", std::vector<int>(64, 2032), 1);
}

void prefills(Bench& bench) {
  for (const Model& m : {kLlama8B, kQwen06B, kOpt125M}) {
    for (const auto& [count, length] : {std::pair{1, 512}, {1, 2048}, {4, 2048}, {1, 8192}}) {
      if (m.headDim == 64 && length > 2048) continue;
      attention(bench, m, text(count) + "x" + text(length), std::vector<int>(count, length), length);
    }
  }
}

void smallOnes(Bench& bench) {
  Arena arena(bench.stream());
  for (const Model& m : {kLlama8B, kQwen06B}) {
    for (const int rows : {1, 64, 256}) {
      const Tensor x = arena.tensor(kType, rows, m.hidden), weight = arena.tensor(kType, 1, m.hidden), out = arena.tensor(kType, rows, m.hidden);
      bench.time({std::string("rmsNorm.") + m.name + "." + text(rows), 2.0 * rows * m.hidden * kElement, 0, 64}, [&](int) { return rmsNorm({x, weight, out, 1e-5f, {}, {}}, bench.step()); });
      const int width = (m.heads + 2 * m.kvHeads) * m.headDim;
      std::vector<uint32_t> places(rows);
      for (int i = 0; i < rows; i++) places[i] = 17 * i + 16;
      const Tensor qkv = arena.tensor(kType, rows, width), at = arena.words(rows, 1, places), table = arena.tensor(DType::f32, 8192, m.headDim);
      const Tensor k = arena.tensor(kType, 2 * rows + 2, static_cast<int64_t>(m.kvHeads) * kBlockSize * m.headDim), v = arena.tensor(kType, 2 * rows + 2, static_cast<int64_t>(m.kvHeads) * kBlockSize * m.headDim);
      bench.time({std::string("ropeKvWrite.") + m.name + "." + text(rows), 2.0 * rows * width * kElement, 0, 64},
                 [&](int) { return ropeKvWrite({qkv, at, table, at, k, v, m.headDim, false, {m.heads, m.kvHeads, m.headDim, kBlockSize}}, bench.step()); });
    }
  }
  for (const int samples : {1, 64, 256}) {
    const int vocab = kLlama8B.vocab;
    const Tensor logits = arena.tensor(DType::f32, samples, vocab), sampled = arena.tensor(DType::u32, samples, 2), thresholds = arena.tensor(DType::f32, samples, 1);
    std::vector<uint32_t> records(static_cast<size_t>(samples) * SAMPLE_WORDS), rows(static_cast<size_t>(samples) * ROW_WORDS);
    for (int i = 0; i < samples; i++) {
      uint32_t* record = &records[static_cast<size_t>(i) * SAMPLE_WORDS];
      record[SampleWord::row] = i, record[SampleWord::position] = 100, record[SampleWord::target] = NONE;
      auto number = [&](int field, float x) { std::memcpy(&rows[static_cast<size_t>(i) * ROW_WORDS + field], &x, 4); };
      number(Row::temperature, 0.8f), number(Row::topP, 0.95f);
      rows[static_cast<size_t>(i) * ROW_WORDS + Row::topK] = 50, rows[static_cast<size_t>(i) * ROW_WORDS + Row::seedLow] = i;
    }
    const Tensor sampleTensor = arena.words(samples, SAMPLE_WORDS, records), rowTensor = arena.words(samples, ROW_WORDS, rows);
    const double bytes = 4.0 * samples * vocab;
    bench.step().sizes = {samples, samples, samples, samples, 1, 1, 0};
    const FilterLogits filter{logits, sampleTensor, rowTensor, thresholds};
    bench.reserveWorkspace(std::max(filterLogitsWorkspace(filter, bench.step().sizes), sampleWorkspace(bench.step().sizes)));
    bench.time({"argmax." + text(samples), bytes, 0, 8}, [&](int) { return argmax({logits, sampleTensor, sampled}, bench.step()); });
    bench.time({"filterLogits." + text(samples), bytes, 0, 8}, [&](int) { return filterLogits(filter, bench.step()); });
    bench.time({"sample." + text(samples), bytes, 0, 8}, [&](int) { return sample({logits, thresholds, sampleTensor, rowTensor, sampled}, bench.step()); });
  }
}

// A layer of a small model in decode, each row at the end of `context` positions.
budgets::Layer makeLayer(Arena& arena, const budgets::LayerShape& s, int rows, int context) {
  const int perRow = (context + s.blockSize - 1) / s.blockSize, blocks = 1 + rows * perRow;
  std::vector<uint32_t> slots, sequences, table, positions(rows, 0);
  for (int row = 0; row < rows; row++) {
    slots.push_back((1 + row * perRow) * s.blockSize + context - 1);
    std::vector<uint32_t> record(SEQUENCE_WORDS, 0);
    record[Sequence::row] = row, record[Sequence::queryStart] = row, record[Sequence::queryLen] = 1, record[Sequence::contextLen] = context, record[Sequence::firstPosition] = context - 1;
    sequences.insert(sequences.end(), record.begin(), record.end());
    for (int block = 0; block < perRow; block++) table.push_back(1 + row * perRow + block);
  }
  auto tensor = [&](int64_t n, int64_t k) { return arena.tensor(kType, static_cast<int>(n), k); };
  const int64_t cacheColumns = int64_t{s.kvHeads} * s.blockSize * s.headDim;
  return {s, tensor(rows, s.hidden), tensor(rows, s.qkvColumns()), tensor(rows, s.attended()), tensor(rows, s.inner), tensor(s.qkvColumns(), s.hidden), tensor(s.hidden, s.attended()),
          tensor((s.gated ? 2 : 1) * s.inner, s.hidden), tensor(s.hidden, s.inner), tensor(1, s.hidden), s.gated ? Tensor{} : tensor(1, s.hidden), tensor(1, s.headDim), arena.words(rows, 1, positions),
          arena.words(rows, 1, slots), arena.tensor(DType::f32, 1, s.headDim), tensor(blocks, cacheColumns), tensor(blocks, cacheColumns), arena.words(rows, SEQUENCE_WORDS, sequences),
          arena.words(rows, perRow, table)};
}

// Layers with weights of their own, as one persistent launch and with a launch for each operation.
void layers(Bench& bench) {
  constexpr int kLayers = 12, kContext = 512;
  for (const budgets::LayerShape& shape : {budgets::kOpt125M, budgets::kQwen06B}) {
    for (const int rows : {1, 2, 4, 8}) {
      Arena arena(bench.stream());
      Step& step = bench.step();
      step.sizes = {rows, rows, rows, rows, kContext / shape.blockSize, 1, 0};
      std::vector<budgets::Layer> all;
      for (int i = 0; i < kLayers; i++) all.push_back(makeLayer(arena, shape, rows, kContext));
      bench.reserveWorkspace(std::max(pagedAttentionWorkspace(all[0].attention(), step.sizes, step.smCount), persistentWorkspace(all[0].attention(), step.smCount)));
      std::vector<PlannedPhase> phases;
      for (const auto& layer : all) {
        const auto some = layer.phases(step);
        phases.insert(phases.end(), some.begin(), some.end());
      }
      std::vector<uint32_t> words(phases.size() * sizeof(Phase) / 4);
      for (size_t i = 0; i < phases.size(); i++) std::memcpy(&words[i * sizeof(Phase) / 4], &phases[i].phase, sizeof(Phase));
      const Tensor memory = arena.words(static_cast<int>(phases.size()), sizeof(Phase) / 4, words), barrier = arena.words(1, 1, {0});
      const PersistentStep persistent = budgets::persistentOf(phases, memory.as<Phase>(), barrier.as<unsigned>());
      double bytes = 0;
      for (const PlannedPhase& p : phases) bytes += p.weightBytes;
      bytes += 2.0 * kLayers * rows * kContext * shape.kvHeads * shape.headDim * kElement;
      const std::string of = std::string(shape.model) + "." + text(kLayers) + "layers." + text(rows);
      bench.time({"layer.launched." + of, bytes, 0, 4}, [&](int) {
        cudaError_t e = cudaSuccess;
        for (size_t i = 0; e == cudaSuccess && i < all.size(); i++) e = all[i].launch(bench.step());
        return e;
      });
      bench.time({"layer.persistent." + of, bytes, 0, 4}, [&](int) {
        bool taken = false;
        const cudaError_t e = persistentStep(persistent, bench.step(), taken);
        return e == cudaSuccess && !taken ? cudaErrorInvalidValue : e;
      });
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 60;
  struct Group {
    const char* name;
    void (*run)(Bench&);
  };
  const Group groups[] = {{"linear", linears}, {"decode", decodes}, {"prefill", prefills}, {"small", smallOnes}, {"layer", layers}};
  Bench bench({}, seconds);
  for (const Group& group : groups) {
    const bool wanted = argc <= 2 || std::any_of(argv + 2, argv + argc, [&](const char* name) { return std::strcmp(name, group.name) == 0; });
    if (wanted) group.run(bench);
  }
  return 0;
}
