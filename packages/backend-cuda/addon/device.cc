#include "device.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace quire {

namespace {

Napi::Error cudaException(Napi::Env env, const DeviceFailure& failure) {
  const std::string where = failure.op.empty() ? "the device" : failure.op;
  auto error = Napi::Error::New(env, where + " failed: " + cudaGetErrorName(failure.error) + " (" + cudaGetErrorString(failure.error) + ")");
  error.Set("cudaCode", Napi::Number::New(env, failure.error));
  error.Set("op", Napi::String::New(env, failure.op));
  error.Set("sticky", Napi::Boolean::New(env, failure.sticky));
  return error;
}

}  // namespace

void throwCuda(Napi::Env env, cudaError_t error, const std::string& what) {
  cudaGetLastError();
  throw cudaException(env, {error, what, isSticky(error)});
}

int bucketSize(int n) {
  if (n <= 2) return n;
  if (n <= 8) return (n + 3) / 4 * 4;
  if (n <= 32) return (n + 7) / 8 * 8;
  if (n <= 128) return (n + 15) / 16 * 16;
  if (n <= 256) return (n + 31) / 32 * 32;
  return (n + 63) / 64 * 64;
}

Napi::Function Device::define(Napi::Env env) {
  return DefineClass(env, "Device",
                     {InstanceMethod("info", &Device::info), InstanceMethod("createTensor", &Device::createTensor), InstanceMethod("freeTensor", &Device::freeTensor),
                      InstanceMethod("write", &Device::write), InstanceMethod("read", &Device::read), InstanceMethod("compile", &Device::compile),
                      InstanceMethod("freePlan", &Device::freePlan), InstanceMethod("submit", &Device::submit), InstanceMethod("profile", &Device::profile),
                      InstanceMethod("synchronize", &Device::synchronize), InstanceMethod("opCounts", &Device::opCounts), InstanceMethod("graphs", &Device::graphs),
                      InstanceMethod("dispose", &Device::dispose)});
}

// new Device({ ordinal, graphs })
Device::Device(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Device>(info) {
  const Napi::Env env = info.Env();
  const auto options = info[0].As<Napi::Object>();
  useGraphs_ = options.Get("graphs").As<Napi::Boolean>();
  const int ordinal = options.Get("ordinal").As<Napi::Number>();
  if (const cudaError_t e = engine_.start(ordinal); e != cudaSuccess) throwCuda(env, e, "opening the device");
  cudaDeviceGetAttribute(&smCount_, cudaDevAttrMultiProcessorCount, ordinal);
  callback_ = Napi::ThreadSafeFunction::New(env, Napi::Function(), "quire-cuda", 0, 1);
  callback_.Unref(env);  // an idle device does not keep the process alive
  // The environment may end with work in flight (worker.terminate, process.exit): the threads end before it does.
  napi_add_env_cleanup_hook(env, &Device::environmentEnds, this);
}

Device::~Device() {
  if (!closed_) napi_remove_env_cleanup_hook(Env(), &Device::environmentEnds, this);
  close();
}

void Device::environmentEnds(void* device) { static_cast<Device*>(device)->close(); }

void Device::close() {
  if (closed_) return;
  closed_ = true;
  engine_.post([this] {
    for (auto& [key, graph] : graphs_) cudaGraphExecDestroy(graph.exec);
    graphs_.clear();
  });
  engine_.stop();
  for (auto& [id, plan] : plans_) cudaFree(plan->workspace.data);
  for (auto& [handle, allocation] : tensors_) cudaFree(allocation.data);
  plans_.clear();
  tensors_.clear();
  callback_.Release();
}

char* Device::addressOf(Napi::Env env, int handle) const {
  const auto found = tensors_.find(handle);
  if (found == tensors_.end()) throw Napi::Error::New(env, "no tensor has handle " + std::to_string(handle) + ": it was disposed of");
  return found->second.data;
}

Napi::Value Device::info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  cudaDeviceProp p;
  size_t free = 0, total = 0;
  if (const cudaError_t e = cudaGetDeviceProperties(&p, 0); e != cudaSuccess) throwCuda(env, e, "device properties");
  if (const cudaError_t e = cudaMemGetInfo(&free, &total); e != cudaSuccess) throwCuda(env, e, "memory information");
  auto result = Napi::Object::New(env);
  result.Set("name", p.name);
  result.Set("smCount", p.multiProcessorCount);
  result.Set("major", p.major);
  result.Set("minor", p.minor);
  result.Set("freeBytes", static_cast<double>(free));
  result.Set("totalBytes", static_cast<double>(total));
  return result;
}

// createTensor(bytes): handle. Contents are zero.
Napi::Value Device::createTensor(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto bytes = static_cast<size_t>(info[0].As<Napi::Number>().Int64Value());
  void* data = nullptr;
  if (const cudaError_t e = cudaMalloc(&data, std::max<size_t>(bytes, 1)); e != cudaSuccess) throwCuda(env, e, "allocating " + std::to_string(bytes) + " bytes");
  const int handle = nextHandle_++;
  tensors_[handle] = {static_cast<char*>(data), bytes};
  engine_.post([this, data, bytes] { engine_.note(cudaMemsetAsync(data, 0, bytes, engine_.stream()), "zeroing"); });
  return Napi::Number::New(env, handle);
}

// The memory goes back once the work that was submitted before has finished.
void Device::freeTensor(const Napi::CallbackInfo& info) {
  const int handle = info[0].As<Napi::Number>();
  const auto found = tensors_.find(handle);
  if (found == tensors_.end()) return;
  char* data = found->second.data;
  tensors_.erase(found);
  engine_.post([this, data] { engine_.whenReached([data](DeviceFailure) { cudaFree(data); }); });
}

// write(handle, byteOffset, bytes: Uint8Array). Copies before it returns.
void Device::write(const Napi::CallbackInfo& info) {
  const auto source = info[2].As<Napi::Uint8Array>();
  char* destination = addressOf(info.Env(), info[0].As<Napi::Number>()) + info[1].As<Napi::Number>().Int64Value();
  const size_t bytes = source.ByteLength();
  void* staging = nullptr;
  if (const cudaError_t e = cudaHostAlloc(&staging, std::max<size_t>(bytes, 1), cudaHostAllocDefault); e != cudaSuccess) throwCuda(info.Env(), e, "staging a write");
  std::memcpy(staging, source.Data(), bytes);
  engine_.post([=] {
    engine_.note(cudaMemcpyAsync(destination, staging, bytes, cudaMemcpyHostToDevice, engine_.stream()), "write");
    engine_.whenReached([staging](DeviceFailure) { cudaFreeHost(staging); });
  });
}

void Device::settle(Napi::Promise::Deferred deferred, DeviceFailure failure, std::function<Napi::Value(Napi::Env)> deliver) {
  callback_.NonBlockingCall([this, deferred, failure, deliver](Napi::Env env, Napi::Function) {
    // Without an environment (it is ending) nobody is left to tell.
    if (static_cast<napi_env>(env) == nullptr) return;
    if (--inFlight_ == 0) callback_.Unref(env);
    Napi::HandleScope scope(env);
    if (failure) deferred.Reject(cudaException(env, failure).Value());
    else deferred.Resolve(deliver(env));
  });
}

Napi::Value Device::promiseWhenReached(Napi::Env env, std::function<Napi::Value(Napi::Env)> deliver) {
  auto deferred = Napi::Promise::Deferred::New(env);
  if (inFlight_++ == 0) callback_.Ref(env);
  engine_.post([=] { engine_.whenReached([=](DeviceFailure failure) { settle(deferred, failure, deliver); }); });
  return deferred.Promise();
}

// read(handle, byteOffset, byteLength): Promise<ArrayBuffer>, the contents at this place in the queue.
Napi::Value Device::read(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const char* source = addressOf(env, info[0].As<Napi::Number>()) + info[1].As<Napi::Number>().Int64Value();
  const auto bytes = static_cast<size_t>(info[2].As<Napi::Number>().Int64Value());
  void* memory = nullptr;
  if (const cudaError_t e = cudaHostAlloc(&memory, std::max<size_t>(bytes, 1), cudaHostAllocDefault); e != cudaSuccess) throwCuda(env, e, "staging a read");
  std::shared_ptr<void> staging(memory, cudaFreeHost);
  engine_.post([=] { engine_.note(cudaMemcpyAsync(staging.get(), source, bytes, cudaMemcpyDeviceToHost, engine_.stream()), "read"); });
  return promiseWhenReached(env, [staging, bytes](Napi::Env e) -> Napi::Value {
    auto buffer = Napi::ArrayBuffer::New(e, bytes);
    std::memcpy(buffer.Data(), staging.get(), bytes);
    return buffer;
  });
}

Napi::Value Device::compile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto plan = std::make_shared<Plan>();
  const size_t workspace = buildPlan(info[0].As<Napi::Object>(), [&](int handle) { return addressOf(env, handle); }, smCount_, *plan);
  if (workspace > 0) {
    if (const cudaError_t e = cudaMalloc(&plan->workspace.data, workspace); e != cudaSuccess) throwCuda(env, e, "allocating the workspace of " + plan->name);
    plan->workspace.bytes = workspace;
    engine_.post([this, plan] { engine_.note(cudaMemsetAsync(plan->workspace.data, 0, plan->workspace.bytes, engine_.stream()), "zeroing"); });
  }
  const int id = nextPlan_++;
  plans_[id] = plan;
  auto result = Napi::Object::New(env);
  result.Set("id", id);
  result.Set("workspaceBytes", static_cast<double>(workspace));
  return result;
}

void Device::freePlan(const Napi::CallbackInfo& info) {
  const auto found = plans_.find(info[0].As<Napi::Number>());
  if (found == plans_.end()) return;
  const auto plan = found->second;
  plans_.erase(found);
  engine_.post([this, plan] {
    // Graphs hold the plan's addresses.
    for (auto it = graphs_.begin(); it != graphs_.end();) {
      const auto address = reinterpret_cast<int64_t>(plan.get());
      if (std::find(it->first.begin(), it->first.end(), address) == it->first.end()) { ++it; continue; }
      cudaGraphExecDestroy(it->second.exec);
      it = graphs_.erase(it);
    }
    engine_.whenReached([plan](DeviceFailure) { cudaFree(plan->workspace.data); });
  });
}

// Only steps in which every sequence decodes have a bucket.
StepSizes Device::bucketOf(const StepSizes& s, const StepSizes& max) {
  const int n = std::min({bucketSize(s.sequences), max.sequences, max.tokens, max.samples});
  return {n, n, n, n, max.blocksPerSequence, 1, 0};
}

// submit(words: Int32Array, times): for each step its plan id and the seven sizes.
void Device::submit(const Napi::CallbackInfo& info) {
  const auto words = info[0].As<Napi::Int32Array>();
  const int times = info[1].As<Napi::Number>();
  std::vector<Segment> segments;
  for (size_t i = 0; i + 8 <= words.ElementLength(); i += 8) {
    const auto found = plans_.find(words[i]);
    if (found == plans_.end()) throw Napi::Error::New(info.Env(), "no executable has id " + std::to_string(words[i]) + ": it was disposed of");
    const StepSizes sizes = readSizes(words.Data() + i + 1);
    const bool decode = sizes.sequences > 0 && sizes.decodeSequences == sizes.sequences && sizes.tokens == sizes.sequences && sizes.samples == sizes.sequences;
    const bool padded = found->second->fillsPadding || (!segments.empty() && segments.back().graphable);
    const bool graphable = useGraphs_ && decode && padded && found->second->graphable;
    if (segments.empty() || segments.back().graphable != graphable) segments.push_back({{}, graphable});
    segments.back().steps.push_back({found->second, graphable ? bucketOf(sizes, found->second->maxSizes) : sizes});
  }
  engine_.post([this, segments = std::move(segments), times] {
    for (int repeat = 0; repeat < times; repeat++) {
      for (const auto& segment : segments) runSegment(segment);
    }
  });
}

void Device::runSteps(const Segment& segment) {
  for (const auto& [plan, sizes] : segment.steps) {
    const Step step{sizes, plan->workspace, smCount_, engine_.stream()};
    for (const auto& op : plan->ops) {
      if (const cudaError_t e = op.launch(step); e != cudaSuccess) return engine_.note(e, op.name);
    }
  }
}

Device::CapturedGraph* Device::captured(const Segment& segment) {
  std::vector<int64_t> key;
  for (const auto& [plan, sizes] : segment.steps) {
    key.push_back(reinterpret_cast<int64_t>(plan.get()));
    key.push_back(sizes.sequences);
  }
  if (const auto found = graphs_.find(key); found != graphs_.end()) return &found->second;
  if (const cudaError_t e = cudaStreamBeginCapture(engine_.stream(), cudaStreamCaptureModeThreadLocal); e != cudaSuccess) return engine_.note(e, "graph capture"), nullptr;
  runSteps(segment);
  cudaGraph_t graph = nullptr;
  if (const cudaError_t e = cudaStreamEndCapture(engine_.stream(), &graph); e != cudaSuccess) return engine_.note(e, "graph capture"), nullptr;
  CapturedGraph result;
#if defined(EMU)
  const auto nodes = emu::graphNodes(graph);
  result.kernels = nodes.kernels, result.copies = nodes.copies, result.sets = nodes.sets;
#else
  size_t count = 0;
  cudaGraphGetNodes(graph, nullptr, &count);
  std::vector<cudaGraphNode_t> nodes(count);
  cudaGraphGetNodes(graph, nodes.data(), &count);
  for (const auto node : nodes) {
    cudaGraphNodeType type;
    cudaGraphNodeGetType(node, &type);
    result.kernels += type == cudaGraphNodeTypeKernel;
    result.copies += type == cudaGraphNodeTypeMemcpy;
    result.sets += type == cudaGraphNodeTypeMemset;
  }
#endif
  const cudaError_t e = cudaGraphInstantiate(&result.exec, graph, 0);
  cudaGraphDestroy(graph);
  if (e != cudaSuccess) return engine_.note(e, "graph instantiation"), nullptr;
  return &(graphs_[key] = result);
}

void Device::runSegment(const Segment& segment) {
  for (const auto& [plan, sizes] : segment.steps) {
    for (auto& runs : plan->runs) runs++;
  }
  if (!segment.graphable) return runSteps(segment);
  if (CapturedGraph* graph = captured(segment)) engine_.note(cudaGraphLaunch(graph->exec, engine_.stream()), "graph " + segment.steps.front().first->name);
}

// profile(plan id, sizes: Int32Array): Promise<number[]>, microseconds of each op.
Napi::Value Device::profile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto found = plans_.find(info[0].As<Napi::Number>());
  if (found == plans_.end()) throw Napi::Error::New(env, "no executable has this id: it was disposed of");
  const auto plan = found->second;
  const StepSizes sizes = readSizes(info[1].As<Napi::Int32Array>().Data());
  auto times = std::make_shared<std::vector<double>>();
  engine_.post([this, plan, sizes, times] {
    const Step step{sizes, plan->workspace, smCount_, engine_.stream()};
    cudaEvent_t start, stop;
    cudaEventCreateWithFlags(&start, 0);
    cudaEventCreateWithFlags(&stop, 0);
    for (size_t i = 0; i < plan->ops.size(); i++) {
      cudaEventRecord(start, engine_.stream());
      engine_.note(plan->ops[i].launch(step), plan->ops[i].name);
      cudaEventRecord(stop, engine_.stream());
      cudaEventSynchronize(stop);
      float milliseconds = 0;
      cudaEventElapsedTime(&milliseconds, start, stop);
      times->push_back(milliseconds * 1000.0);
      plan->runs[i]++;
    }
    cudaEventDestroy(start);
    cudaEventDestroy(stop);
  });
  return promiseWhenReached(env, [times](Napi::Env e) -> Napi::Value {
    auto result = Napi::Array::New(e, times->size());
    for (uint32_t i = 0; i < times->size(); i++) result.Set(i, (*times)[i]);
    return result;
  });
}

Napi::Value Device::synchronize(const Napi::CallbackInfo& info) {
  return promiseWhenReached(info.Env(), [](Napi::Env e) -> Napi::Value { return e.Undefined(); });
}

// opCounts(plan id): number[] per op. Counts as of the last submit that has been taken up.
Napi::Value Device::opCounts(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto found = plans_.find(info[0].As<Napi::Number>());
  auto result = Napi::Array::New(env);
  if (found == plans_.end()) return result;
  for (uint32_t i = 0; i < found->second->runs.size(); i++) result.Set(i, static_cast<double>(found->second->runs[i]));
  return result;
}

// graphs(): Promise of one entry per captured graph: its plans' names, batch, and nodes by kind.
Napi::Value Device::graphs(const Napi::CallbackInfo& info) {
  struct Entry {
    std::string names;
    int64_t batch;
    CapturedGraph graph;
  };
  auto entries = std::make_shared<std::vector<Entry>>();
  engine_.post([this, entries] {
    for (const auto& [key, graph] : graphs_) {
      Entry entry{"", key[1], graph};
      for (size_t i = 0; i < key.size(); i += 2) entry.names += (i ? "+" : "") + reinterpret_cast<const Plan*>(key[i])->name;
      entries->push_back(entry);
    }
  });
  return promiseWhenReached(info.Env(), [entries](Napi::Env env) -> Napi::Value {
    auto result = Napi::Array::New(env, entries->size());
    for (uint32_t i = 0; i < entries->size(); i++) {
      const auto& e = (*entries)[i];
      auto entry = Napi::Object::New(env);
      entry.Set("name", e.names);
      entry.Set("batch", static_cast<double>(e.batch));
      entry.Set("kernels", e.graph.kernels);
      entry.Set("copies", e.graph.copies);
      entry.Set("sets", e.graph.sets);
      result.Set(i, entry);
    }
    return result;
  });
}

Napi::Value Device::dispose(const Napi::CallbackInfo& info) {
  auto deferred = Napi::Promise::Deferred::New(info.Env());
  if (!closed_) napi_remove_env_cleanup_hook(info.Env(), &Device::environmentEnds, this);
  close();
  deferred.Resolve(info.Env().Undefined());
  return deferred.Promise();
}

}  // namespace quire
