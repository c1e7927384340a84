#include "device.h"

#include <algorithm>
#include <cstring>

#include <unistd.h>

namespace quire {

Napi::Error cudaException(Napi::Env env, const DeviceFailure& failure) {
  auto error = Napi::Error::New(env, failure.message);
  error.Set("cudaCode", Napi::Number::New(env, failure.error));
  error.Set("op", Napi::String::New(env, failure.op));
  error.Set("sticky", Napi::Boolean::New(env, failure.sticky));
  return error;
}

void checkCuda(Napi::Env env, cudaError_t error, const std::string& doing) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw cudaException(env, describeFailure(error, "", doing));
}

DeviceFailure disposed() { return {cudaErrorUnknown, "", "the device was disposed of", false}; }

Napi::Function Device::define(Napi::Env env) {
  return DefineClass(env, "Device",
                     {InstanceMethod("info", &Device::info), InstanceMethod("createTensor", &Device::createTensor), InstanceMethod("freeTensor", &Device::freeTensor),
                      InstanceMethod("write", &Device::write), InstanceMethod("read", &Device::read), InstanceMethod("loadFile", &Device::loadFile), InstanceMethod("compile", &Device::compile),
                      InstanceMethod("freePlan", &Device::freePlan), InstanceMethod("submit", &Device::submit), InstanceMethod("profile", &Device::profile),
                      InstanceMethod("transfer", &Device::transfer), InstanceMethod("synchronize", &Device::synchronize), InstanceMethod("reached", &Device::reached),
                      InstanceMethod("runs", &Device::runs), InstanceMethod("graphs", &Device::graphs), InstanceMethod("tune", &Device::tune), InstanceMethod("capture", &Device::capture),
                      InstanceMethod("enterGroup", &Device::enterGroup), InstanceMethod("exportPeer", &Device::exportPeer), InstanceMethod("importPeers", &Device::importPeers),
                      InstanceMethod("joinGroup", &Device::joinGroup), InstanceMethod("leaveGroup", &Device::leaveGroup), InstanceMethod("abortGroup", &Device::abortGroup), InstanceMethod("dispose", &Device::dispose)});
}

Device::Device(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<Device>(info),
      ordinal_(info[0].As<Napi::Object>().Get("ordinal").As<Napi::Number>()),
      engine_([this](const DeviceFailure& failure) { tellLoss(failure); }),
      runner_(engine_, info[0].As<Napi::Object>().Get("graphs").As<Napi::Boolean>()),
      loader_(engine_, staging_) {
  const Napi::Env env = info.Env();
  checkCuda(env, engine_.start(ordinal_), "opening device " + std::to_string(ordinal_));
  checkCuda(env, cudaSetDevice(ordinal_), "opening device " + std::to_string(ordinal_));
  checkCuda(env, cudaDeviceGetAttribute(&settings_.smCount, cudaDevAttrMultiProcessorCount, ordinal_), "device attributes");
  setUp(info[0].As<Napi::Object>());
  onLost_ = Napi::Persistent(info[1].As<Napi::Function>());
  callback_ = Napi::ThreadSafeFunction::New(env, Napi::Function(), "quire-cuda", 0, 1);
  callback_.Unref(env);  // an idle device does not keep the process alive
  // The environment may end with work in flight (worker.terminate, process.exit): the threads end before it does.
  napi_add_env_cleanup_hook(env, &Device::environmentEnds, this);
  Ref();
}

// A library sums the rows of one batch in other orders than those of another: it is opened where that is allowed.
void Device::setUp(const Napi::Object& options) {
  settings_.batchInvariant = options.Get("batchInvariant").As<Napi::Boolean>();
  if (!settings_.batchInvariant) {
    try {
      linearLibrary_ = std::make_unique<TunedLinear>(ordinal_, settings_.smCount, options.Get("choicesFile").As<Napi::String>());
      linearLibraryReport_ = linearLibrary_->version();
    } catch (const std::runtime_error& error) {
      linearLibraryReport_ = error.what();
    }
  }
  settings_.linearLibrary = linearLibrary_.get();
  const bool always = options.Get("prefill").As<Napi::String>().Utf8Value() == "wgmma";
  if (always || !settings_.batchInvariant) prefillTrial_ = std::make_unique<PrefillTrial>(ordinal_, settings_.smCount, always, options.Get("trialsFile").As<Napi::String>());
  settings_.prefillTrial = prefillTrial_.get();
  runner_.setUp(settings_);
}

Device::~Device() {
  if (!closed_ && callback_ != nullptr) napi_remove_env_cleanup_hook(Env(), &Device::environmentEnds, this);
  close();
}

void Device::environmentEnds(void* device) { static_cast<Device*>(device)->close(); }

void Device::close() {
  if (closed_) return;
  closed_ = true;
  group_.abort();
  loader_.stop();
  engine_.stop();
  group_.leave();
  runner_.clear();
  hostTier_.clear();
  staging_.clear();
  for (auto& [id, plan] : plans_) cudaFree(plan->workspace.data), cudaFree(plan->phases);
  for (auto& [handle, allocation] : tensors_) cudaFree(allocation.data);
  plans_.clear();
  tensors_.clear();
  linearLibrary_.reset();
  if (callback_ != nullptr) callback_.Release();
}

// dispose(): Promise. What is queued is not begun any more; promises on their way settle first.
Napi::Value Device::dispose(const Napi::CallbackInfo& info) {
  auto deferred = Napi::Promise::Deferred::New(info.Env());
  if (closed_) {
    deferred.Resolve(info.Env().Undefined());
    return deferred.Promise();
  }
  if (disposing_.empty()) {
    group_.abort();
    loader_.stop();
    if (pending_.empty()) callback_.Ref(info.Env());
    engine_.requestStop([this] {
      callback_.NonBlockingCall([this](Napi::Env env, Napi::Function) {
        if (static_cast<napi_env>(env) != nullptr) finishDispose(env);
      });
    });
  }
  disposing_.push_back(deferred);
  return deferred.Promise();
}

void Device::finishDispose(Napi::Env env) {
  Napi::HandleScope scope(env);
  napi_remove_env_cleanup_hook(env, &Device::environmentEnds, this);
  close();
  for (const auto& deferred : disposing_) deferred.Resolve(env.Undefined());
  Unref();
}

// ----------------------------------------------------------------------------------------------------------------- promises

Napi::Value Device::makePending(Napi::Env env, int& id, std::function<Napi::Value(Napi::Env)> deliver) {
  auto deferred = Napi::Promise::Deferred::New(env);
  if (pending_.empty() && disposing_.empty()) callback_.Ref(env);
  id = nextPending_++;
  pending_.emplace(id, Pending{deferred, std::move(deliver)});
  return deferred.Promise();
}

void Device::settle(int id, DeviceFailure failure) {
  callback_.NonBlockingCall([this, id, failure = std::move(failure)](Napi::Env env, Napi::Function) {
    // Without an environment (it is ending) nobody is left to tell.
    if (static_cast<napi_env>(env) != nullptr) settleHere(env, id, failure);
  });
}

void Device::settleHere(Napi::Env env, int id, const DeviceFailure& failure) {
  Napi::HandleScope scope(env);
  const auto found = pending_.find(id);
  Pending pending = std::move(found->second);
  pending_.erase(found);
  if (pending_.empty() && disposing_.empty()) callback_.Unref(env);
  if (failure) return pending.deferred.Reject(cudaException(env, failure).Value());
  pending.deferred.Resolve(pending.deliver ? pending.deliver(env) : env.Undefined());
}

void Device::tellLoss(const DeviceFailure& failure) {
  callback_.NonBlockingCall([this, failure](Napi::Env env, Napi::Function) {
    if (static_cast<napi_env>(env) == nullptr) return;
    Napi::HandleScope scope(env);
    onLost_.Call({cudaException(env, failure).Value()});
  });
}

Napi::Value Device::promiseWhenReached(Napi::Env env, Report report, std::function<Napi::Value(Napi::Env)> deliver) {
  int id = 0;
  const Napi::Value promise = makePending(env, id, std::move(deliver));
  engine_.post([this, id, report] {
    DeviceFailure failure = report == Report::queue ? engine_.takeFailure() : DeviceFailure{};
    if (engine_.stopping()) failure = disposed();
    engine_.whenReached(engine_.stream(), std::move(failure), [this, id](DeviceFailure f) { settle(id, std::move(f)); });
  });
  return promise;
}

Napi::Value Device::synchronize(const Napi::CallbackInfo& info) { return promiseWhenReached(info.Env(), Report::queue, nullptr); }

// The same, but it leaves the failure of a submit to others: for the pace of uploads.
Napi::Value Device::reached(const Napi::CallbackInfo& info) { return promiseWhenReached(info.Env(), Report::ownOnly, nullptr); }

// ------------------------------------------------------------------------------------------------------------------- memory

char* Device::addressOf(Napi::Env env, int handle) const {
  const auto found = tensors_.find(handle);
  if (found == tensors_.end()) throw Napi::Error::New(env, "no tensor has handle " + std::to_string(handle) + ": it was disposed of");
  return found->second.data;
}

void* Device::allocate(Napi::Env env, size_t bytes, const std::string& what) {
  checkCuda(env, cudaSetDevice(ordinal_), what);
  void* data = nullptr;
  cudaError_t e = cudaMalloc(&data, std::max<size_t>(bytes, 1));
  if (e == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    engine_.drain();
    e = cudaMalloc(&data, std::max<size_t>(bytes, 1));
  }
  checkCuda(env, e, "allocating " + std::to_string(bytes) + " bytes for " + what);
  engine_.post([this, data, bytes] { engine_.note(cudaMemsetAsync(data, 0, bytes, engine_.stream()), "", "zeroing memory"); });
  return data;
}

void* Device::stage(Napi::Env env, size_t bytes, const std::string& what) {
  cudaError_t e = cudaSuccess;
  void* memory = staging_.take(bytes, e);
  checkCuda(env, e, what);
  return memory;
}

Napi::Value Device::info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  cudaDeviceProp p;
  size_t free = 0, total = 0;
  checkCuda(env, cudaSetDevice(ordinal_), "device information");
  checkCuda(env, cudaGetDeviceProperties(&p, ordinal_), "device information");
  checkCuda(env, cudaMemGetInfo(&free, &total), "device information");
  auto result = Napi::Object::New(env);
  result.Set("name", p.name);
  result.Set("smCount", p.multiProcessorCount);
  result.Set("major", p.major);
  result.Set("minor", p.minor);
  result.Set("hasLinearLibrary", linearLibrary_ != nullptr);
  result.Set("linearLibrary", linearLibraryReport_);
  result.Set("freeBytes", static_cast<double>(free));
  result.Set("totalBytes", static_cast<double>(total));
  return result;
}

Napi::Value Device::createTensor(const Napi::CallbackInfo& info) {
  const auto bytes = static_cast<size_t>(info[0].As<Napi::Number>().Int64Value());
  const int64_t blocks = info[1].As<Napi::Number>().Int64Value();
  char* data = static_cast<char*>(allocate(info.Env(), bytes, "a tensor"));
  const int handle = nextHandle_++;
  tensors_[handle] = {data, blocks > 0};
  if (blocks > 0) engine_.post([=] { hostTier_.addCache(handle, data, static_cast<int64_t>(bytes) / blocks); });
  return Napi::Number::New(info.Env(), handle);
}

// The memory goes back once the work that was submitted before has finished.
void Device::freeTensor(const Napi::CallbackInfo& info) {
  const int handle = info[0].As<Napi::Number>();
  const auto found = tensors_.find(handle);
  if (found == tensors_.end() || !disposing_.empty()) return;  // close() frees what is left
  const auto [data, isCache] = found->second;
  tensors_.erase(found);
  engine_.post([this, handle, data = data, isCache = isCache] {
    if (isCache) engine_.note(cudaStreamSynchronize(engine_.transferStream()), "", "a transfer"), hostTier_.removeCache(handle);
    engine_.afterwards([data] { cudaFree(data); });
  });
}

// Copies before it returns.
void Device::write(const Napi::CallbackInfo& info) {
  const auto source = info[2].As<Napi::Uint8Array>();
  char* destination = addressOf(info.Env(), info[0].As<Napi::Number>()) + info[1].As<Napi::Number>().Int64Value();
  const size_t bytes = source.ByteLength();
  if (bytes > 0) copyToDevice(info.Env(), destination, source.Data(), bytes, "staging a write");
}

void Device::copyToDevice(Napi::Env env, void* destination, const void* source, size_t bytes, const std::string& what) {
  void* staging = stage(env, bytes, what);
  std::memcpy(staging, source, bytes);
  engine_.post([=] {
    if (!engine_.stopping()) engine_.note(cudaMemcpyAsync(destination, staging, bytes, cudaMemcpyHostToDevice, engine_.stream()), "", "a write");
    engine_.afterwards([this, staging] { staging_.give(staging); });
  });
}

Napi::Value Device::read(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const char* source = addressOf(env, info[0].As<Napi::Number>()) + info[1].As<Napi::Number>().Int64Value();
  const auto target = info[2].As<Napi::Uint8Array>();
  const size_t bytes = target.ByteLength();
  // Back to the pool when the promise has settled: what the last owner does, on JavaScript's thread or at the end.
  std::shared_ptr<void> staging(stage(env, bytes, "staging a read"), [this](void* memory) { staging_.give(memory); });
  auto into = std::make_shared<Napi::Reference<Napi::Uint8Array>>(Napi::Persistent(target));
  engine_.post([this, source, bytes, memory = staging.get()] {
    if (bytes > 0 && !engine_.stopping()) engine_.note(cudaMemcpyAsync(memory, source, bytes, cudaMemcpyDeviceToHost, engine_.stream()), "", "a read");
  });
  return promiseWhenReached(env, Report::queue, [staging, into, bytes](Napi::Env e) -> Napi::Value {
    Napi::Uint8Array array = into->Value();
    if (array.ByteLength() == bytes) std::memcpy(array.Data(), staging.get(), bytes);
    return e.Undefined();
  });
}

// loadFile(handle, rows): `rows` are eight numbers of each: descriptor, start, rows, rowBytes, from, bytes, stride, and the byte
// offset in the tensor.
Napi::Value Device::loadFile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  char* tensor = addressOf(env, info[0].As<Napi::Number>());
  const auto numbers = info[1].As<Napi::Float64Array>();
  std::vector<FileRows> rows;
  for (size_t i = 0; i + 8 <= numbers.ElementLength(); i += 8) {
    const auto at = [&](size_t field) { return static_cast<int64_t>(numbers[i + field]); };
    // The caller may close its own while this one is read.
    rows.push_back({dup(static_cast<int>(at(0))), at(1), at(2), at(3), at(4), at(5), at(6), tensor + at(7)});
  }
  int id = 0;
  auto outcome = std::make_shared<FileFailure>();
  const Napi::Value promise = makePending(env, id, [outcome](Napi::Env e) -> Napi::Value {
    if (outcome->index < 0) return e.Undefined();
    auto failure = Napi::Object::New(e);
    failure.Set("index", outcome->index);
    failure.Set("offset", static_cast<double>(outcome->offset));
    failure.Set("error", outcome->error == 0 ? "" : std::strerror(outcome->error));
    return failure;
  });
  loader_.load(ordinal_, std::move(rows), [this, id, outcome](FileFailure failure) {
    *outcome = failure;
    settle(id, std::move(failure.device));
  });
  return promise;
}

Napi::Value Device::transfer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto numbers = [](const Napi::Value& value) {
    const auto array = value.As<Napi::Int32Array>();
    return std::vector<int>(array.Data(), array.Data() + array.ElementLength());
  };
  const bool toHost = info[2].As<Napi::Boolean>();
  int id = 0;
  const Napi::Value promise = makePending(env, id, nullptr);
  engine_.post([this, id, toHost, blocks = numbers(info[0]), slots = numbers(info[1])] {
    void* table = nullptr;
    DeviceFailure failure;
    if (engine_.stopping()) failure = disposed();
    cudaError_t e = failure ? cudaSuccess : engine_.orderTransferBehindCompute();
    if (e == cudaSuccess && !failure) e = hostTier_.move(blocks, slots, toHost, engine_.transferStream(), staging_, table);
    // A passing failure is this transfer's own; a sticky one is everybody's.
    if (isSticky(e)) engine_.note(e, "", "a transfer");
    else if (e != cudaSuccess) failure = describeFailure(e, "", "a transfer"), cudaGetLastError();
    engine_.whenReached(engine_.transferStream(), std::move(failure), [this, id, table](DeviceFailure f) {
      if (table != nullptr) staging_.give(table);
      settle(id, std::move(f));
    });
  });
  return promise;
}

}  // namespace quire
