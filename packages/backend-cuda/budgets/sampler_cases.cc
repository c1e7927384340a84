// argmax, sample and filterLogits over f32 logits of Llama 3's vocabulary.
#include <cstring>

#include "cases.h"
#include "kernels/lib/row_state.h"

namespace budgets {
namespace {

using namespace quire;

struct Sampler {
  Tensor logits, samples, rows, thresholds, sampled;
};

uint32_t bits(float x) {
  uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  return word;
}

Sampler makeSampler(int count, int vocabulary) {
  const Sampler s{makeTensor(DType::f32, count, vocabulary, Traffic::streamed), makeTensor(DType::u32, count, SAMPLE_WORDS, Traffic::cached), makeTensor(DType::u32, count, ROW_WORDS, Traffic::cached),
                  makeTensor(DType::f32, count, 1, Traffic::cached), makeTensor(DType::u32, count, 2, Traffic::cached)};
  fill<float>(s.logits, [](int64_t i) { return static_cast<float>(i * 2654435761u % 1000003u) * 1e-5f; });
  fill<uint32_t>(s.samples, [](int64_t i) -> uint32_t { return i % SAMPLE_WORDS == SampleWord::target ? NONE : i % SAMPLE_WORDS == SampleWord::row ? static_cast<uint32_t>(i / SAMPLE_WORDS) : 0; });
  fill<uint32_t>(s.rows, [](int64_t i) -> uint32_t {
    switch (i % ROW_WORDS) {
      case Row::temperature: return bits(0.8f);
      case Row::topK: return 50;
      case Row::topP: return bits(0.95f);
      default: return 0;
    }
  });
  fill<float>(s.thresholds, [](int64_t) { return NO_THRESHOLD; });
  return s;
}

}  // namespace

std::vector<Case> samplerCases(Scale scale) {
  // Small, one whole row: what is kept per row is small beside it.
  const int count = scale == Scale::small ? 1 : 64, vocabulary = 128256;
  const Sampler s = makeSampler(count, vocabulary);
  const std::string shape = "8B, " + text(count) + " x " + text(vocabulary);
  // filterLogits reads a row three times; all rows fit the second cache.
  Tensor cached = makeTensor(DType::f32, count, vocabulary, Traffic::cached);
  fill<float>(cached, [&](int64_t i) { return s.logits.as<float>()[i]; });
  const double read = bytesOf(s.logits) + bytesOf(s.samples), results = bytesOf(s.sampled);
  const StepSizes sizes{count, count, count, count, 0, 1, 0};
  const Argmax greedy{s.logits, s.samples, s.sampled};
  const Sample drawn{s.logits, s.thresholds, s.samples, s.rows, s.sampled};
  const FilterLogits filter{cached, s.samples, s.rows, s.thresholds};
  auto step = [sizes](int smCount, size_t workspace) { return Step{sizes, {allocate(workspace, Traffic::cached), workspace}, smCount, nullptr, true}; };
  const double logits = bytesOf(s.logits) / 4;
  return {
      {"argmax", shape, read + results, logits, [=](int smCount) { return argmax(greedy, step(smCount, argmaxWorkspace(sizes))); }},
      {"sample", shape, read + bytesOf(s.rows) + bytesOf(s.thresholds) + results, logits, [=](int smCount) { return sample(drawn, step(smCount, sampleWorkspace(sizes))); }},
      {"filterLogits", shape + ", top-k and top-p", read + bytesOf(s.rows) + bytesOf(s.thresholds), logits, [=](int smCount) { return filterLogits(filter, step(smCount, filterLogitsWorkspace(filter, sizes))); }},
  };
}

}  // namespace budgets
