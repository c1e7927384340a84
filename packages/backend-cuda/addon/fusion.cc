#include "fusion.h"

#include <optional>

namespace quire {

namespace {

size_t bytesOf(const Tensor& t) { return static_cast<size_t>(t.rows) * t.columns * (t.dtype == DType::f32 ? 4 : 2); }
bool overlap(const Tensor& a, const Tensor& b) {
  const char *const from = a.as<char>(), *const other = b.as<char>();
  return from < other + bytesOf(b) && other < from + bytesOf(a);
}
bool isSame(const OpReader& a, const char* field, const OpReader& b, const char* other) { return a.tensor(field).data == b.tensor(other).data; }
bool shareFields(const OpReader& a, const OpReader& b, std::initializer_list<const char*> fields) {
  for (const char* field : fields) {
    if (!isSame(a, field, b, field)) return false;
  }
  return true;
}

// rmsNorm or layerNorm, and the linear layer behind it. The norm's input is read while the output is written, which the plan of
// the temporaries does not know: it may have given both one place.
template <class LayerOf>
std::optional<Fusion> normAnd(LayerOf layerOf, const OpReader& norm, const OpReader& layer, const StepSizes& maxSizes) {
  const bool centred = norm.name() == "layerNorm";
  const auto x = norm.tensor("x"), weight = norm.tensor("weight"), bias = centred ? norm.tensor("bias") : PlannedTensor{};
  const auto eps = static_cast<float>(norm.number("eps"));
  const auto at = layerOf(layer);
  if (!isSame(norm, "out", layer, "x") || overlap(x.at(maxSizes), at(maxSizes).out)) return std::nullopt;
  return Fusion{2, [=](const Step& s, cudaError_t& error) {
    auto a = at(s.sizes);
    a.x = x.at(s.sizes);
    const InputNorm input{weight.at(s.sizes), bias.at(s.sizes), eps, centred};
    if (!takesNorm(a, input)) return false;
    error = normedLinear(a, input, s);
    return true;
  }};
}

std::optional<Fusion> normedLayer(const OpReader& norm, const OpReader& layer, const StepSizes& maxSizes) {
  if ((norm.name() != "rmsNorm" && norm.name() != "layerNorm") || !norm.feedsNextOnly() || norm.tensor("residual").data != nullptr) return std::nullopt;
  if (layer.name() == "linear") return normAnd(linearOf, norm, layer, maxSizes);
  if (layer.name() == "gatedLinear") return normAnd(gatedLinearOf, norm, layer, maxSizes);
  return std::nullopt;
}

std::optional<Fusion> preparation(const OpReader& inputs, const OpReader& samples) {
  if (inputs.name() != "prepareInputs" || samples.name() != "prepareSamples" || !shareFields(inputs, samples, {"batch", "sequences", "tokenIds"})) return std::nullopt;
  return Fusion{2, [first = prepareInputsOf(inputs), second = prepareSamplesOf(samples)](const Step& s, cudaError_t& error) {
    error = prepareInputsAndSamples(first(s.sizes), second(s.sizes), s);
    return true;
  }};
}

template <class SamplerOf, class Launch>
Fusion samplerAndAdvance(SamplerOf samplerOf, Launch launch, const OpReader& sampler, const OpReader& rows, size_t workspaceBytes) {
  return {2, [at = samplerOf(sampler), advance = advanceRowsOf(rows), launch](const Step& s, cudaError_t& error) {
    // Rows advance without a sample too.
    if (s.sizes.samples == 0) return false;
    error = launch(at(s.sizes), advance(s.sizes), s);
    return true;
  }, workspaceBytes};
}

std::optional<Fusion> advancing(const OpReader& sampler, const OpReader& rows, const StepSizes& maxSizes) {
  if (rows.name() != "advanceRows" || !isSame(sampler, "sampled", rows, "sampled") || !isSame(sampler, "samples", rows, "samples")) return std::nullopt;
  if (sampler.name() == "sample") return samplerAndAdvance(sampleOf, sampleAndAdvance, sampler, rows, sampleWorkspace(maxSizes));
  if (sampler.name() == "argmax") return samplerAndAdvance(argmaxOf, argmaxAndAdvance, sampler, rows, argmaxWorkspace(maxSizes));
  if (sampler.name() == "logProbs") return samplerAndAdvance(logProbsOf, logProbsAndAdvance, sampler, rows, logProbsAndAdvanceWorkspace());
  return std::nullopt;
}

// Two or three of maskLogits, biasLogits and penalties in this order, from the second on in place.
std::optional<Fusion> processing(const std::vector<OpReader>& ops, size_t first) {
  size_t at = first;
  auto next = [&](const char* name) -> const OpReader* {
    if (at == ops.size() || ops[at].name() != name) return nullptr;
    if (at > first && !(shareFields(ops[at], ops[first], {"samples", "rows", "out"}) && isSame(ops[at], "logits", ops[first], "out"))) return nullptr;
    return &ops[at++];
  };
  const OpReader *const mask = next("maskLogits"), *const bias = next("biasLogits"), *const penalty = next("penalties");
  if (at - first < 2) return std::nullopt;
  std::function<MaskLogits(const StepSizes&)> maskAt = [](const StepSizes&) { return MaskLogits{}; };
  std::function<BiasLogits(const StepSizes&)> biasAt = [](const StepSizes&) { return BiasLogits{}; };
  std::function<Penalties(const StepSizes&)> penaltyAt = [](const StepSizes&) { return Penalties{}; };
  if (mask != nullptr) maskAt = maskLogitsOf(*mask);
  if (bias != nullptr) biasAt = biasLogitsOf(*bias);
  if (penalty != nullptr) penaltyAt = penaltiesOf(*penalty);
  return Fusion{at - first, [=](const Step& s, cudaError_t& error) {
    error = processLogits(maskAt(s.sizes), biasAt(s.sizes), penaltyAt(s.sizes), s);
    return true;
  }};
}

}  // namespace

Fusion findFusion(const std::vector<OpReader>& ops, size_t first, const StepSizes& maxSizes) {
  if (first + 1 >= ops.size()) return {};
  const OpReader &a = ops[first], &b = ops[first + 1];
  if (auto found = normedLayer(a, b, maxSizes)) return *found;
  if (auto found = preparation(a, b)) return *found;
  if (auto found = advancing(a, b, maxSizes)) return *found;
  return processing(ops, first).value_or(Fusion{});
}

}  // namespace quire
