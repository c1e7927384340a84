#include "fusion.h"

#include <optional>

namespace quire {

namespace {

constexpr StepSizes kOneRow{1, 1, 1, 1, 1, 1, 1};

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

// An rmsNorm or layerNorm of a plan.
struct PlannedNorm {
  PlannedTensor weight, bias;
  float eps;
  bool centred;
  explicit PlannedNorm(const OpReader& r) : weight(r.tensor("weight")), eps(static_cast<float>(r.number("eps"))), centred(r.name() == "layerNorm") {
    if (centred) bias = r.tensor("bias");
  }
  InputNorm at(const StepSizes& z) const { return {weight.at(z), bias.at(z), eps, centred}; }
};
bool isNorm(const OpReader& r) { return (r.name() == "rmsNorm" && r.tensor("residual").data == nullptr) || r.name() == "layerNorm"; }

// What stands in front of a linear layer in a plan: a norm; the sum of a residual and the norm; a norm of that sum.
struct PlannedInput {
  PlannedTensor x;
  std::optional<PlannedNorm> norm, second;
  PlannedTensor residual, sum;
  // Operations, and what the layer behind them reads.
  size_t count = 0;
  PlannedTensor out;
  NormedInput at(const StepSizes& z) const { return {norm->at(z), residual.at(z), sum.at(z), second ? second->at(z) : InputNorm{}}; }
};

std::optional<PlannedInput> inputOf(const std::vector<OpReader>& ops, size_t first) {
  const OpReader& norm = ops[first];
  if (!isNorm(norm)) return std::nullopt;
  PlannedInput in{norm.tensor("x"), PlannedNorm(norm), {}, {}, {}, 1, norm.tensor("out")};
  if (!norm.feedsNextOnly()) {
    in.sum = in.out;
    return in;
  }
  const OpReader* const add = first + 1 < ops.size() && ops[first + 1].name() == "add" ? &ops[first + 1] : nullptr;
  if (add == nullptr) return in;
  const auto a = add->tensor("a"), b = add->tensor("b");
  if (a.data == b.data) return in;
  in.residual = a.data == in.out.data ? b : a;
  in.sum = in.out = add->tensor("out"), in.count = 2;
  if (first + 2 >= ops.size()) return in;
  const OpReader& second = ops[first + 2];
  if (second.name() == "rmsNorm" && isNorm(second) && second.feedsNextOnly() && second.tensor("x").data == in.sum.data) in.second = PlannedNorm(second), in.out = second.tensor("out"), in.count = 3;
  return in;
}

// The plan of the temporaries does not know that x and the residual are read while sum and output are written: it keeps their places
// for that long where it can (src/fusion.ts).
template <class LayerOf>
std::optional<Fusion> normedLayer(LayerOf layerOf, const PlannedInput& in, const OpReader& layer, const StepSizes& maxSizes) {
  const auto at = layerOf(layer);
  const auto x = in.x;
  auto problem = [=](const StepSizes& z) {
    auto a = at(z);
    a.x = x.at(z);
    return a;
  };
  if (layer.tensor("x").data != in.out.data) return std::nullopt;
  const auto out = at(maxSizes).out, sum = in.sum.at(maxSizes);
  if (sum && overlap(sum, out)) return std::nullopt;
  for (const Tensor& read : {x.at(maxSizes), in.residual.at(maxSizes)}) {
    if (read && (overlap(read, out) || (sum && overlap(read, sum)))) return std::nullopt;
  }
  // The layer's own residual is read by the block that writes in its place, and by no block that stores the sum.
  const Tensor residual = layer.name() == "linear" ? layer.tensor("residual").at(maxSizes) : Tensor{};
  if (residual && sum && overlap(residual, sum)) return std::nullopt;
  // Not even at one row: fewer of the operations may go together.
  if (!takesNormed(problem(kOneRow), in.at(kOneRow))) return std::nullopt;
  return Fusion{in.count + 1, [=](const Step& s, cudaError_t& error) {
    const auto a = problem(s.sizes);
    const NormedInput input = in.at(s.sizes);
    if (!takesNormed(a, input)) return false;
    error = normedLinear(a, input, s);
    return true;
  }, 0, {[=](const Step& s) { return phaseOf(problem(s.sizes), in.at(s.sizes), s); }}};
}

// The same with the rotation and cache write of what the layer gives. Their places in a persistent step stay two.
std::optional<Fusion> rotatedLayer(const PlannedInput& in, const OpReader& layer, const OpReader& rotation, Fusion normed) {
  if (layer.name() != "linear" || rotation.name() != "ropeKvWrite" || !isSame(layer, "out", rotation, "qkv")) return std::nullopt;
  const auto layerAt = linearOf(layer);
  const auto writeAt = ropeKvWriteOf(rotation);
  const auto x = in.x;
  auto problem = [=](const StepSizes& z) {
    auto a = layerAt(z);
    a.x = x.at(z);
    return a;
  };
  if (!takesRotated(problem(kOneRow), in.at(kOneRow), writeAt(kOneRow))) return std::nullopt;
  normed.phases.push_back([=](const Step& s) { return phaseOf(writeAt(s.sizes), s); });
  return Fusion{normed.count + 1, [=](const Step& s, cudaError_t& error) {
    const auto a = problem(s.sizes);
    const NormedInput input = in.at(s.sizes);
    const RopeKvWrite write = writeAt(s.sizes);
    if (!takesRotated(a, input, write)) return false;
    error = rotatedLinear(a, input, write, s);
    return true;
  }, workspaceBytes(0), std::move(normed.phases)};
}

std::optional<Fusion> normedLayer(const std::vector<OpReader>& ops, size_t first, const StepSizes& maxSizes) {
  const auto in = inputOf(ops, first);
  if (!in || first + in->count >= ops.size()) return std::nullopt;
  const OpReader& layer = ops[first + in->count];
  if (layer.name() == "linear") {
    const auto normed = normedLayer(linearOf, *in, layer, maxSizes);
    if (!normed || first + normed->count >= ops.size()) return normed;
    const auto rotated = rotatedLayer(*in, layer, ops[first + normed->count], *normed);
    return rotated ? rotated : normed;
  }
  if (layer.name() == "gatedLinear") return normedLayer(gatedLinearOf, *in, layer, maxSizes);
  return std::nullopt;
}

// The norms of all queries and of all keys of a row, and their rotation and cache write.
std::optional<Fusion> normedRotation(const std::vector<OpReader>& ops, size_t first) {
  if (first + 2 >= ops.size() || ops[first].name() != "normColumns" || ops[first + 1].name() != "normColumns" || ops[first + 2].name() != "ropeKvWrite") return std::nullopt;
  if (!isSame(ops[first], "x", ops[first + 2], "qkv") || !isSame(ops[first + 1], "x", ops[first + 2], "qkv")) return std::nullopt;
  const auto query = normColumnsOf(ops[first]), key = normColumnsOf(ops[first + 1]);
  const auto write = ropeKvWriteOf(ops[first + 2]);
  if (!takesNormedColumns(query(kOneRow), key(kOneRow), write(kOneRow))) return std::nullopt;
  return Fusion{3, [=](const Step& s, cudaError_t& error) {
    error = normedRopeKvWrite(query(s.sizes), key(s.sizes), write(s.sizes), s);
    return true;
  }};
}

// The choice of the experts of few rows, and their gated layers.
constexpr int kRoutedRows = 8;
std::optional<Fusion> routedExperts(const OpReader& route, const OpReader& layer, const StepSizes& maxSizes) {
  if (route.name() != "moeRoute" || layer.name() != "groupedLinear" || !isSame(route, "experts", layer, "experts")) return std::nullopt;
  const auto routeAt = moeRouteOf(route);
  const auto layerAt = groupedLinearOf(layer);
  if (layerAt(maxSizes).shares || overlap(routeAt(maxSizes).logits, layerAt(maxSizes).out)) return std::nullopt;
  return Fusion{2, [=](const Step& s, cudaError_t& error) {
    const GroupedLinear experts = layerAt(s.sizes);
    if (experts.out.rows > kRoutedRows) return false;
    error = routedGroupedLinear(routeAt(s.sizes), experts, s);
    return true;
  }};
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
  if (auto found = normedLayer(ops, first, maxSizes)) return *found;
  if (auto found = normedRotation(ops, first)) return *found;
  if (auto found = routedExperts(a, b, maxSizes)) return *found;
  if (auto found = preparation(a, b)) return *found;
  if (auto found = advancing(a, b, maxSizes)) return *found;
  return processing(ops, first).value_or(Fusion{});
}

}  // namespace quire
