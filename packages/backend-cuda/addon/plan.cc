#include "plan.h"

#include <algorithm>
#include <map>

#include "fusion.h"
#include "op-reader.h"
#include "persistent.h"

namespace quire {

int sizeAt(const StepSizes& s, int index) { return (&s.tokens)[index]; }

StepSizes readSizes(const int32_t* w) { return {w[0], w[1], w[2], w[3], w[4], w[5], w[6]}; }

Tensor PlannedTensor::at(const StepSizes& sizes) const { return {data, dtype, rowsSize < 0 ? rows : sizeAt(sizes, rowsSize), columns}; }

namespace {

struct Built {
  std::function<cudaError_t(const Step&)> launch;
  size_t workspaceBytes = 0;
};
struct Context {
  StepSizes maxSizes;
  StepSettings settings;
};
using Builder = Built (*)(const OpReader&, const Context&);

template <class At, class Launch>
Built built(At at, Launch launch, size_t workspaceBytes = 0) {
  return {[=](const Step& s) { return launch(at(s.sizes), s); }, workspaceBytes};
}

// The closed table of operations: an op that is missing here does not compile into a plan.
const std::map<std::string, Builder>& builders() {
  static const std::map<std::string, Builder> table = {
      {"applyRowDelta", [](const OpReader& r, const Context&) -> Built {
         auto d = r.tensor("delta"), rows = r.tensor("rows"), tables = r.tensor("blockTables"), ids = r.tensor("tokenIds"), batch = r.tensor("batch"), biases = r.tensor("biases");
         return {[=](const Step& s) { const auto& z = s.sizes; return applyRowDelta({d.at(z), rows.at(z), tables.at(z), ids.at(z), batch.at(z), biases.at(z)}, s); }};
       }},
      {"prepareInputs", [](const OpReader& r, const Context&) { return built(prepareInputsOf(r), prepareInputs); }},
      {"prepareSamples", [](const OpReader& r, const Context&) { return built(prepareSamplesOf(r), prepareSamples); }},
      {"advanceRows", [](const OpReader& r, const Context&) { return built(advanceRowsOf(r), advanceRows); }},
      {"embed", [](const OpReader& r, const Context&) -> Built {
         auto ids = r.tensor("ids"), table = r.tensor("table"), out = r.tensor("out");
         const int offset = r.integer("offset"), firstRow = r.integer("firstRow");
         return {[=](const Step& s) { const auto& z = s.sizes; return embed({ids.at(z), table.at(z), out.at(z), offset, firstRow}, s); }};
       }},
      {"vocabParallelEmbed", [](const OpReader& r, const Context& c) -> Built {
         auto ids = r.tensor("ids"), table = r.tensor("table"), out = r.tensor("out");
         const int rank = c.settings.groups.tensor == nullptr ? 0 : c.settings.groups.tensor->rank;
         const int rowsPerRank = r.integer("rowsPerRank"), firstRow = r.integer("firstRow");
         return {[=](const Step& s) { const auto& z = s.sizes; return vocabParallelEmbed({ids.at(z), table.at(z), out.at(z), rank, rowsPerRank, firstRow}, s); }};
       }},
      {"allReduce", [](const OpReader& r, const Context& c) -> Built {
         auto x = r.tensor("x"), residual = r.tensor("residual"), out = r.tensor("out");
         auto at = [=, groups = c.settings.groups](const StepSizes& z) { return AllReduce{x.at(z), residual.at(z), out.at(z), groups.tensor, groups.peers}; };
         return {[=](const Step& s) { return allReduce(at(s.sizes), s); }, allReduceWorkspace(at(c.maxSizes))};
       }},
      {"allGather", [](const OpReader& r, const Context& c) -> Built {
         auto x = r.tensor("x"), out = r.tensor("out");
         auto at = [=, ranks = c.settings.groups.tensor](const StepSizes& z) { return AllGather{x.at(z), out.at(z), ranks}; };
         return {[=](const Step& s) { return allGather(at(s.sizes), s); }, allGatherWorkspace(at(c.maxSizes))};
       }},
      {"send", [](const OpReader& r, const Context& c) -> Built {
         auto x = r.tensor("x");
         const int toStage = r.integer("toStage");
         return {[=, stages = c.settings.groups.pipeline](const Step& s) { return send({x.at(s.sizes), toStage, stages}, s); }};
       }},
      {"recv", [](const OpReader& r, const Context& c) -> Built {
         auto out = r.tensor("out");
         const int fromStage = r.integer("fromStage");
         return {[=, stages = c.settings.groups.pipeline](const Step& s) { return recv({out.at(s.sizes), fromStage, stages}, s); }};
       }},
      {"broadcast", [](const OpReader& r, const Context& c) -> Built {
         auto x = r.tensor("x");
         const int fromStage = r.integer("fromStage");
         return {[=, stages = c.settings.groups.pipeline](const Step& s) { return broadcast({x.at(s.sizes), fromStage, stages}, s); }};
       }},
      {"rmsNorm", [](const OpReader& r, const Context&) -> Built {
         auto x = r.tensor("x"), w = r.tensor("weight"), out = r.tensor("out"), residual = r.tensor("residual"), sum = r.tensor("sum");
         const auto eps = static_cast<float>(r.number("eps"));
         return {[=](const Step& s) { const auto& z = s.sizes; return rmsNorm({x.at(z), w.at(z), out.at(z), eps, residual.at(z), sum.at(z)}, s); }};
       }},
      {"layerNorm", [](const OpReader& r, const Context&) -> Built {
         auto x = r.tensor("x"), w = r.tensor("weight"), b = r.tensor("bias"), out = r.tensor("out");
         const auto eps = static_cast<float>(r.number("eps"));
         return {[=](const Step& s) { const auto& z = s.sizes; return layerNorm({x.at(z), w.at(z), b.at(z), out.at(z), eps}, s); }};
       }},
      {"linear", [](const OpReader& r, const Context& c) {
         const auto at = linearOf(r);
         return built(at, linear, linearWorkspace(at(c.maxSizes), c.settings.batchInvariant, c.settings.linearLibrary));
       }},
      {"gatedLinear", [](const OpReader& r, const Context& c) {
         const auto at = gatedLinearOf(r);
         return built(at, gatedLinear, gatedLinearWorkspace(at(c.maxSizes), c.settings.batchInvariant, c.settings.linearLibrary));
       }},
      {"moeRoute", [](const OpReader& r, const Context&) { return built(moeRouteOf(r), moeRoute); }},
      {"groupedLinear", [](const OpReader& r, const Context&) { return built(groupedLinearOf(r), groupedLinear); }},
      {"prepareAdapters", [](const OpReader& r, const Context&) -> Built {
         auto sequences = r.tensor("sequences"), rows = r.tensor("rows"), adapters = r.tensor("adapters");
         return {[=](const Step& s) { const auto& z = s.sizes; return prepareAdapters({sequences.at(z), rows.at(z), adapters.at(z)}, s); }};
       }},
      {"loraLinear", [](const OpReader& r, const Context&) -> Built {
         auto x = r.tensor("x"), adapters = r.tensor("adapters"), a = r.tensor("a"), b = r.tensor("b"), scales = r.tensor("scales"), hidden = r.tensor("hidden"), out = r.tensor("out");
         const LoraSlices slices = r.loraSlices();
         return {[=](const Step& s) { const auto& z = s.sizes; return loraLinear({x.at(z), adapters.at(z), a.at(z), b.at(z), scales.at(z), hidden.at(z), out.at(z), slices}, s); }};
       }},
      {"rope", [](const OpReader& r, const Context&) -> Built {
         auto qkv = r.tensor("qkv"), positions = r.tensor("positions"), table = r.tensor("table");
         const int heads = r.integer("heads"), kvHeads = r.integer("kvHeads"), headDim = r.integer("headDim"), rotaryDim = r.integer("rotaryDim");
         const bool interleaved = r.integer("interleaved") != 0;
         const HeadNorms norms = r.norms();
         return {[=](const Step& s) { const auto& z = s.sizes; return rope({qkv.at(z), positions.at(z), table.at(z), heads, kvHeads, headDim, rotaryDim, interleaved, norms}, s); }};
       }},
      {"kvWrite", [](const OpReader& r, const Context&) { return built(kvWriteOf(r), kvWrite); }},
      {"ropeKvWrite", [](const OpReader& r, const Context&) { return built(ropeKvWriteOf(r), ropeKvWrite); }},
      {"pagedAttention", [](const OpReader& r, const Context& c) {
         const auto at = pagedAttentionOf(r);
         const PagedAttention largest = at(c.maxSizes);
         const PrefillTrial* trial = c.settings.prefillTrial != nullptr && c.settings.prefillTrial->takes(largest) ? c.settings.prefillTrial : nullptr;
         const auto launch = [trial](const PagedAttention& a, const Step& s) { return trial != nullptr && trial->suits(a, s.sizes) ? pagedAttentionWgmma(a, s) : pagedAttention(a, s); };
         return built(at, launch, pagedAttentionWorkspace(largest, c.maxSizes, c.settings.smCount));
       }},
      {"gatedActivation", [](const OpReader& r, const Context&) -> Built {
         auto x = r.tensor("x"), out = r.tensor("out");
         const auto activation = static_cast<Activation>(r.integer("activation"));
         return {[=](const Step& s) { const auto& z = s.sizes; return gatedActivation({x.at(z), out.at(z), activation}, s); }};
       }},
      {"add", [](const OpReader& r, const Context&) -> Built {
         auto a = r.tensor("a"), b = r.tensor("b"), out = r.tensor("out");
         return {[=](const Step& s) { const auto& z = s.sizes; return add({a.at(z), b.at(z), out.at(z)}, s); }};
       }},
      {"scale", [](const OpReader& r, const Context&) -> Built {
         auto x = r.tensor("x"), out = r.tensor("out");
         const auto factor = static_cast<float>(r.number("factor")), softCap = static_cast<float>(r.number("softCap"));
         return {[=](const Step& s) { const auto& z = s.sizes; return scale({x.at(z), out.at(z), factor, softCap}, s); }};
       }},
      {"normColumns", [](const OpReader& r, const Context&) { return built(normColumnsOf(r), normColumns); }},
      {"pool", [](const OpReader& r, const Context&) -> Built {
         auto x = r.tensor("x"), sequences = r.tensor("sequences"), out = r.tensor("out");
         const bool sum = r.integer("sum") != 0;
         return {[=](const Step& s) { const auto& z = s.sizes; return pool({x.at(z), sequences.at(z), out.at(z), sum}, s); }};
       }},
      {"gatherRows", [](const OpReader& r, const Context&) -> Built {
         auto x = r.tensor("x"), samples = r.tensor("samples"), out = r.tensor("out");
         return {[=](const Step& s) { const auto& z = s.sizes; return gatherRows({x.at(z), samples.at(z), out.at(z)}, s); }};
       }},
      {"copyBlocks", [](const OpReader& r, const Context& c) -> Built {
         auto k = r.tensor("kCache"), v = r.tensor("vCache"), pairs = r.tensor("pairs"), kScales = r.tensor("kScales"), vScales = r.tensor("vScales");
         auto at = [=](const StepSizes& z) { return CopyBlocks{k.at(z), v.at(z), pairs.at(z), kScales.at(z), vScales.at(z)}; };
         return {[=](const Step& s) { return copyBlocks(at(s.sizes), s); }, copyBlocksWorkspace(at(c.maxSizes))};
       }},
      {"zeroBlocks", [](const OpReader& r, const Context&) -> Built {
         auto k = r.tensor("kCache"), v = r.tensor("vCache"), blocks = r.tensor("blocks"), kScales = r.tensor("kScales"), vScales = r.tensor("vScales");
         return {[=](const Step& s) { const auto& z = s.sizes; return zeroBlocks({k.at(z), v.at(z), blocks.at(z), kScales.at(z), vScales.at(z)}, s); }};
       }},
      {"penalties", [](const OpReader& r, const Context&) { return built(penaltiesOf(r), penalties); }},
      {"biasLogits", [](const OpReader& r, const Context&) { return built(biasLogitsOf(r), biasLogits); }},
      {"maskLogits", [](const OpReader& r, const Context&) { return built(maskLogitsOf(r), maskLogits); }},
      {"filterLogits", [](const OpReader& r, const Context& c) -> Built {
         auto logits = r.tensor("logits"), samples = r.tensor("samples"), rows = r.tensor("rows"), thresholds = r.tensor("thresholds");
         auto at = [=](const StepSizes& z) { return FilterLogits{logits.at(z), samples.at(z), rows.at(z), thresholds.at(z)}; };
         return {[=](const Step& s) { return filterLogits(at(s.sizes), s); }, filterLogitsWorkspace(at(c.maxSizes), c.maxSizes)};
       }},
      {"sample", [](const OpReader& r, const Context& c) { return built(sampleOf(r), sample, sampleWorkspace(c.maxSizes)); }},
      {"argmax", [](const OpReader& r, const Context& c) { return built(argmaxOf(r), argmax, argmaxWorkspace(c.maxSizes)); }},
      {"logProbs", [](const OpReader& r, const Context&) { return built(logProbsOf(r), logProbs); }},
  };
  return table;
}

}  // namespace

size_t buildPlan(const Napi::Object& description, const AddressOf& addressOf, const StepSettings& settings, Plan& plan) {
  plan.name = description.Get("name").As<Napi::String>().Utf8Value();
  plan.maxSizes = readSizes(description.Get("maxSizes").As<Napi::Int32Array>().Data());
  const auto described = description.Get("ops").As<Napi::Array>();
  std::vector<OpReader> ops;
  for (uint32_t i = 0; i < described.Length(); i++) ops.emplace_back(described.Get(i).As<Napi::Object>(), addressOf);
  const Context context{plan.maxSizes, settings};
  size_t workspace = 0;
  for (const OpReader& op : ops) {
    const std::string name = op.name();
    const auto found = builders().find(name);
    if (found == builders().end()) throw Napi::Error::New(description.Env(), "the CUDA backend has no operation '" + name + "'");
    Built built = found->second(op, context);
    workspace = std::max(workspace, built.workspaceBytes);
    if (name == "applyRowDelta" || name == "copyBlocks" || name == "zeroBlocks") plan.graphable = false;
    if (name == "prepareInputs") plan.fillsPadding = true;
    plan.ops.push_back({name, std::move(built.launch)});
  }
  for (size_t i = 0; i < ops.size(); i += plan.runs.back().count) {
    Fusion fusion = findFusion(ops, i, plan.maxSizes);
    if (fusion.count == 0) fusion = {1, nullptr, 0, phasesOf(ops[i])};
    const size_t phaseBytes = fusion.count == 1 ? phaseWorkspace(ops[i], plan.maxSizes, settings) : 0;
    workspace = std::max({workspace, fusion.workspaceBytes, phaseBytes});
    plan.runs.push_back({i, fusion.count, std::move(fusion.launch), std::move(fusion.phases)});
  }
  return workspace;
}

}  // namespace quire
