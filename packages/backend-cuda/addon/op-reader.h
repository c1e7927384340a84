// The operations of a plan as src/compile.ts describes them, and the arguments of those that several readers ask for.
#pragma once
#include <napi.h>

#include <string>

#include "plan.h"

namespace quire {

// Fields of one op as JavaScript passed them.
class OpReader {
 public:
  OpReader(Napi::Object op, const AddressOf& addressOf)
      : op_(op), tensors_(op.Get("tensors").As<Napi::Object>()), attributes_(op.Get("attributes").As<Napi::Object>()), addressOf_(addressOf) {}

  std::string name() const { return op_.Get("op").As<Napi::String>().Utf8Value(); }
  // What it writes is read by the next op of the plan, and by nobody else.
  bool feedsNextOnly() const { return op_.Get("feedsNextOnly").ToBoolean().Value(); }
  // An absent optional field gives a tensor without data.
  PlannedTensor tensor(const char* field) const {
    if (!tensors_.Has(field)) return {};
    const auto words = tensors_.Get(field).As<Napi::Array>();
    auto number = [&](uint32_t i) { return words.Get(i).As<Napi::Number>().Int64Value(); };
    return {addressOf_(static_cast<int>(number(0))) + number(1), static_cast<DType>(number(2)), static_cast<int>(number(3)), static_cast<int>(number(4)), number(5)};
  }
  double number(const char* name) const { return attributes_.Get(name).As<Napi::Number>().DoubleValue(); }
  int integer(const char* name) const { return attributes_.Get(name).As<Napi::Number>().Int32Value(); }
  HeadNorms norms() const {
    // Weights: their rows are not those of a step.
    const Tensor q = tensor("qNorm").at({}), k = tensor("kNorm").at({});
    return {q, k, q ? static_cast<float>(number("normEps")) : 0.0f};
  }
  LoraSlices loraSlices() const {
    LoraSlices slices{integer("sliceColumns"), {}};
    for (int i = 0, end = 0; i < slices.count; i++) slices.end[i] = end += integer(("sliceColumns." + std::to_string(i)).c_str());
    return slices;
  }
  AttentionShape attention() const { return {integer("heads"), integer("kvHeads"), integer("headDim"), integer("blockSize")}; }

 private:
  Napi::Object op_, tensors_, attributes_;
  const AddressOf& addressOf_;
};

// The functions below read an op once and give its arguments at the sizes of any step.

inline auto linearOf(const OpReader& r) {
  const auto x = r.tensor("x"), w = r.tensor("weight"), out = r.tensor("out"), b = r.tensor("bias"), residual = r.tensor("residual");
  const auto activation = static_cast<Activation>(r.integer("activation"));
  const int column = r.integer("outColumn");
  return [=](const StepSizes& z) { return Linear{x.at(z), w.at(z), out.at(z), b.at(z), residual.at(z), activation, column}; };
}

inline auto moeRouteOf(const OpReader& r) {
  const auto logits = r.tensor("logits"), experts = r.tensor("experts"), shares = r.tensor("shares");
  const bool normalize = r.integer("normalize") != 0;
  return [=](const StepSizes& z) { return MoeRoute{logits.at(z), experts.at(z), shares.at(z), normalize}; };
}

inline auto groupedLinearOf(const OpReader& r) {
  const auto x = r.tensor("x"), experts = r.tensor("experts"), w = r.tensor("weight"), out = r.tensor("out"), shares = r.tensor("shares"), residual = r.tensor("residual");
  const auto activation = static_cast<Activation>(r.integer("activation"));
  const int firstExpert = r.integer("firstExpert");
  return [=](const StepSizes& z) { return GroupedLinear{x.at(z), experts.at(z), w.at(z), out.at(z), shares.at(z), residual.at(z), activation, firstExpert}; };
}

inline auto gatedLinearOf(const OpReader& r) {
  const auto x = r.tensor("x"), w = r.tensor("weight"), out = r.tensor("out"), b = r.tensor("bias");
  const auto activation = static_cast<Activation>(r.integer("activation"));
  return [=](const StepSizes& z) { return GatedLinear{x.at(z), w.at(z), out.at(z), b.at(z), activation}; };
}

inline auto normColumnsOf(const OpReader& r) {
  const auto x = r.tensor("x"), w = r.tensor("weight");
  const auto eps = static_cast<float>(r.number("eps"));
  const int column = r.integer("column");
  return [=](const StepSizes& z) { return NormColumns{x.at(z), w.at(z), eps, column}; };
}

inline auto ropeKvWriteOf(const OpReader& r) {
  const auto qkv = r.tensor("qkv"), positions = r.tensor("positions"), table = r.tensor("table"), slots = r.tensor("slotMapping"), k = r.tensor("kCache"), v = r.tensor("vCache"),
             kScales = r.tensor("kScales"), vScales = r.tensor("vScales");
  const int rotaryDim = r.integer("rotaryDim");
  const bool interleaved = r.integer("interleaved") != 0;
  const AttentionShape shape = r.attention();
  const HeadNorms norms = r.norms();
  return [=](const StepSizes& z) { return RopeKvWrite{qkv.at(z), positions.at(z), table.at(z), slots.at(z), k.at(z), v.at(z), rotaryDim, interleaved, shape, norms, kScales.at(z), vScales.at(z)}; };
}

inline auto kvWriteOf(const OpReader& r) {
  const auto qkv = r.tensor("qkv"), slots = r.tensor("slotMapping"), k = r.tensor("kCache"), v = r.tensor("vCache"), kScales = r.tensor("kScales"), vScales = r.tensor("vScales");
  const AttentionShape shape = r.attention();
  return [=](const StepSizes& z) { return KvWrite{qkv.at(z), slots.at(z), k.at(z), v.at(z), shape, kScales.at(z), vScales.at(z)}; };
}

inline auto pagedAttentionOf(const OpReader& r) {
  const auto qkv = r.tensor("qkv"), k = r.tensor("kCache"), v = r.tensor("vCache"), sequences = r.tensor("sequences"), tables = r.tensor("blockTables"), out = r.tensor("out"), kScales = r.tensor("kScales"),
             vScales = r.tensor("vScales");
  const auto scale = static_cast<float>(r.number("scale")), softCap = static_cast<float>(r.number("softCap"));
  const int window = r.integer("window");
  const AttentionShape shape = r.attention();
  return [=](const StepSizes& z) { return PagedAttention{qkv.at(z), k.at(z), v.at(z), sequences.at(z), tables.at(z), out.at(z), scale, window, softCap, shape, kScales.at(z), vScales.at(z)}; };
}

inline auto prepareInputsOf(const OpReader& r) {
  const auto batch = r.tensor("batch"), rows = r.tensor("rows"), ids = r.tensor("tokenIds"), tables = r.tensor("blockTables"), input = r.tensor("inputIds"), positions = r.tensor("positions"),
             slots = r.tensor("slotMapping"), sequences = r.tensor("sequences");
  const int blockSize = r.integer("blockSize");
  return [=](const StepSizes& z) { return PrepareInputs{batch.at(z), rows.at(z), ids.at(z), tables.at(z), input.at(z), positions.at(z), slots.at(z), sequences.at(z), blockSize}; };
}

inline auto prepareSamplesOf(const OpReader& r) {
  const auto batch = r.tensor("batch"), sequences = r.tensor("sequences"), ids = r.tensor("tokenIds"), samples = r.tensor("samples");
  return [=](const StepSizes& z) { return PrepareSamples{batch.at(z), sequences.at(z), ids.at(z), samples.at(z)}; };
}

inline auto advanceRowsOf(const OpReader& r) {
  const auto batch = r.tensor("batch"), sequences = r.tensor("sequences"), samples = r.tensor("samples"), sampled = r.tensor("sampled"), rows = r.tensor("rows"), ids = r.tensor("tokenIds"), ring = r.tensor("ring");
  return [=](const StepSizes& z) {
    const Tensor slots = ring.at(z);
    return AdvanceRows{batch.at(z), sequences.at(z), samples.at(z), sampled.at(z), rows.at(z), ids.at(z), slots, slots.rows};
  };
}

inline auto maskLogitsOf(const OpReader& r) {
  const auto logits = r.tensor("logits"), samples = r.tensor("samples"), rows = r.tensor("rows"), masks = r.tensor("masks"), out = r.tensor("out");
  return [=](const StepSizes& z) { return MaskLogits{logits.at(z), samples.at(z), rows.at(z), masks.at(z), out.at(z)}; };
}

inline auto biasLogitsOf(const OpReader& r) {
  const auto logits = r.tensor("logits"), samples = r.tensor("samples"), rows = r.tensor("rows"), biases = r.tensor("biases"), out = r.tensor("out");
  return [=](const StepSizes& z) { return BiasLogits{logits.at(z), samples.at(z), rows.at(z), biases.at(z), out.at(z)}; };
}

inline auto penaltiesOf(const OpReader& r) {
  const auto logits = r.tensor("logits"), samples = r.tensor("samples"), rows = r.tensor("rows"), ids = r.tensor("tokenIds"), out = r.tensor("out");
  return [=](const StepSizes& z) { return Penalties{logits.at(z), samples.at(z), rows.at(z), ids.at(z), out.at(z)}; };
}

inline auto sampleOf(const OpReader& r) {
  const auto logits = r.tensor("logits"), thresholds = r.tensor("thresholds"), samples = r.tensor("samples"), rows = r.tensor("rows"), sampled = r.tensor("sampled");
  return [=](const StepSizes& z) { return Sample{logits.at(z), thresholds.at(z), samples.at(z), rows.at(z), sampled.at(z)}; };
}

inline auto argmaxOf(const OpReader& r) {
  const auto logits = r.tensor("logits"), samples = r.tensor("samples"), sampled = r.tensor("sampled");
  return [=](const StepSizes& z) { return Argmax{logits.at(z), samples.at(z), sampled.at(z)}; };
}

inline auto logProbsOf(const OpReader& r) {
  const auto logits = r.tensor("logits"), samples = r.tensor("samples"), sampled = r.tensor("sampled"), logprobs = r.tensor("logprobs"), ids = r.tensor("logprobIds");
  const int topN = r.integer("topN");
  return [=](const StepSizes& z) { return LogProbs{logits.at(z), samples.at(z), sampled.at(z), logprobs.at(z), ids.at(z), topN}; };
}

}  // namespace quire
