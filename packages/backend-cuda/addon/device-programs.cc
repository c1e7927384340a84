// Programs of a device: compiled to plans, submitted, captured and timed.
#include "device.h"
#include "persistent.h"

namespace quire {

std::shared_ptr<Plan> Device::planOf(Napi::Env env, int id) const {
  const auto found = plans_.find(id);
  if (found == plans_.end()) throw Napi::Error::New(env, "no executable has id " + std::to_string(id) + ": it was disposed of");
  return found->second;
}

Napi::Value Device::compile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  checkCuda(env, cudaSetDevice(ordinal_), "compiling a plan");
  auto plan = std::make_shared<Plan>();
  const size_t workspace = buildPlan(info[0].As<Napi::Object>(), [&](int handle) { return addressOf(env, handle); }, settings_, *plan);
  if (workspace > 0) plan->workspace = {allocate(env, workspace, "the workspace of " + plan->name), workspace};
  const PhaseMemory phases = findPersistent(*plan, settings_);
  if (phases.bytes() > 0) {
    placePhases(*plan, phases, allocate(env, phases.bytes(), "the phases of " + plan->name));
    copyToDevice(env, static_cast<char*>(plan->phases) + phases.barrierBytes, phases.phases.data(), phases.phases.size() * sizeof(Phase), "the phases of " + plan->name);
  }
  plan->id = nextPlan_++;
  plans_[plan->id] = plan;
  auto result = Napi::Object::New(env);
  result.Set("id", plan->id);
  result.Set("workspaceBytes", static_cast<double>(workspace + phases.bytes()));
  return result;
}

void Device::freePlan(const Napi::CallbackInfo& info) {
  const auto found = plans_.find(info[0].As<Napi::Number>());
  if (found == plans_.end() || !disposing_.empty()) return;  // close() frees what is left
  const auto plan = found->second;
  plans_.erase(found);
  engine_.post([this, plan] {
    runner_.removePlan(plan->id);
    engine_.afterwards([plan] { cudaFree(plan->workspace.data), cudaFree(plan->phases); });
  });
}

void Device::submit(const Napi::CallbackInfo& info) {
  const auto words = info[0].As<Napi::Int32Array>();
  const int times = info[1].As<Napi::Number>();
  std::vector<Segment> segments;
  for (size_t i = 0; i + 8 <= words.ElementLength(); i += 8) runner_.add(segments, planOf(info.Env(), words[i]), readSizes(words.Data() + i + 1));
  engine_.post([this, segments = std::move(segments), times] { runner_.run(segments, times); });
}

Napi::Value Device::tune(const Napi::CallbackInfo& info) {
  engine_.post([this, plan = planOf(info.Env(), info[0].As<Napi::Number>())] { runner_.tune(*plan); });
  return promiseWhenReached(info.Env(), Report::queue, nullptr);
}

Napi::Value Device::capture(const Napi::CallbackInfo& info) {
  const auto ids = info[0].As<Napi::Int32Array>();
  std::vector<std::shared_ptr<Plan>> plans;
  for (size_t i = 0; i < ids.ElementLength(); i++) plans.push_back(planOf(info.Env(), ids[i]));
  engine_.post([this, plans = std::move(plans)] { runner_.capture(plans); });
  return promiseWhenReached(info.Env(), Report::queue, nullptr);
}

Napi::Value Device::profile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto plan = planOf(env, info[0].As<Napi::Number>());
  const StepSizes sizes = readSizes(info[1].As<Napi::Int32Array>().Data());
  auto times = std::make_shared<std::vector<double>>();
  engine_.post([this, plan, sizes, times] {
    if (engine_.stopping() || engine_.lost()) return;
    plan->timesRun++;
    *times = runner_.profile(*plan, sizes);
  });
  return promiseWhenReached(env, Report::queue, [times](Napi::Env e) -> Napi::Value {
    auto result = Napi::Array::New(e, times->size());
    for (uint32_t i = 0; i < times->size(); i++) result.Set(i, (*times)[i]);
    return result;
  });
}

Napi::Value Device::runs(const Napi::CallbackInfo& info) {
  const auto found = plans_.find(info[0].As<Napi::Number>());
  return Napi::Number::New(info.Env(), found == plans_.end() ? 0 : static_cast<double>(found->second->timesRun.load()));
}

Napi::Value Device::graphs(const Napi::CallbackInfo& info) {
  auto entries = std::make_shared<std::vector<std::pair<int, CapturedGraph>>>();
  engine_.post([this, entries] {
    for (const auto& [key, graph] : runner_.graphs().entries()) {
      if (graph.exec != nullptr) entries->emplace_back(key[1], graph);
    }
  });
  return promiseWhenReached(info.Env(), Report::ownOnly, [entries](Napi::Env env) -> Napi::Value {
    auto result = Napi::Array::New(env, entries->size());
    for (uint32_t i = 0; i < entries->size(); i++) {
      const auto& [batch, graph] = (*entries)[i];
      auto entry = Napi::Object::New(env);
      entry.Set("name", graph.name);
      entry.Set("batch", batch);
      entry.Set("kernels", graph.kernels);
      entry.Set("copies", graph.copies);
      entry.Set("sets", graph.sets);
      entry.Set("replays", static_cast<double>(graph.replays));
      result.Set(i, entry);
    }
    return result;
  });
}

}  // namespace quire
