// The exports of the addon, in one list.
#include <napi.h>

#include <cstring>

#include "device.h"
#include "peer-meeting.h"
#if defined(EMU)
#include "src/cooperative.h"
#endif

namespace {

// probe(): { deviceCount, driverVersion, runtimeVersion, errorCode, errorName }. Never throws: says why CUDA is not usable.
Napi::Value probe(const Napi::CallbackInfo& info) {
  int count = 0, driver = 0, runtime = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  auto result = Napi::Object::New(info.Env());
  result.Set("deviceCount", error == cudaSuccess ? count : 0);
  result.Set("driverVersion", driver);
  result.Set("runtimeVersion", runtime);
  result.Set("errorCode", static_cast<int>(error));
  result.Set("errorName", cudaGetErrorName(error));
  return result;
}

#if defined(EMU)
// setChip({ smCount, blocksPerSm, order, seed, cooperative?, wgmma? }): the emulated chip, for every device of this process.
void setChip(const Napi::CallbackInfo& info) {
  const auto options = info[0].As<Napi::Object>();
  const std::string order = options.Get("order").As<Napi::String>();
  emu::chip() = {options.Get("smCount").As<Napi::Number>(), options.Get("blocksPerSm").As<Napi::Number>(),
                 order == "reverse" ? emu::Order::reverse : order == "shuffled" ? emu::Order::shuffled : emu::Order::forward,
                 static_cast<uint64_t>(options.Get("seed").As<Napi::Number>().Int64Value())};
  emu::hasCooperativeLaunches() = !options.Has("cooperative") || options.Get("cooperative").ToBoolean();
  emu::hasWarpgroupProducts() = options.Has("wgmma") && options.Get("wgmma").ToBoolean();
}

// counters(): what each kernel did since the process began.
Napi::Value counters(const Napi::CallbackInfo& info) {
  auto result = Napi::Object::New(info.Env());
  for (const auto& [name, c] : emu::kernelCounters()) {
    auto entry = Napi::Object::New(info.Env());
    const std::pair<const char*, uint64_t> fields[] = {
        {"launches", c.launches}, {"blocks", c.blocks}, {"threads", c.threads}, {"barriers", c.barriers}, {"collectives", c.collectives},
        {"loadBytes", c.loadBytes}, {"loadRequests", c.loadRequests}, {"loadSectors", c.loadSectors}, {"storeBytes", c.storeBytes},
        {"storeRequests", c.storeRequests}, {"storeSectors", c.storeSectors}, {"sharedRequests", c.sharedRequests}, {"bankConflicts", c.bankConflicts}};
    for (const auto& [field, value] : fields) entry.Set(field, static_cast<double>(value));
    result.Set(name, entry);
  }
  return result;
}

// injectError(code, afterCalls): the runtime call after that many returns it. resetChip(): clears a sticky error.
void injectError(const Napi::CallbackInfo& info) {
  emu::injectError(static_cast<cudaError_t>(info[0].As<Napi::Number>().Int32Value()), info[1].As<Napi::Number>());
}
#endif

// reset(ordinal): ends the context of a device.
void reset(const Napi::CallbackInfo& info) {
  if (cudaSetDevice(info[0].As<Napi::Number>()) != cudaSuccess) cudaGetLastError();
  cudaDeviceReset();
}

// reachOneAnother(ordinals): whether each of these GPUs reaches the memory of each other.
Napi::Value reachOneAnother(const Napi::CallbackInfo& info) {
  const auto ordinals = info[0].As<Napi::Int32Array>();
  return Napi::Boolean::New(info.Env(), quire::reachOneAnother({ordinals.Data(), ordinals.Data() + ordinals.ElementLength()}));
}

// uniqueId(): what the devices of a group must have to find one another, once made by one of them. Throws where there is no NCCL.
Napi::Value uniqueId(const Napi::CallbackInfo& info) {
  try {
    const nccl::UniqueId id = quire::ncclUniqueId();
    auto bytes = Napi::Uint8Array::New(info.Env(), sizeof id.internal);
    std::memcpy(bytes.Data(), id.internal, sizeof id.internal);
    return bytes;
  } catch (const std::runtime_error& error) {
    throw Napi::Error::New(info.Env(), error.what());
  }
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  exports.Set("flavour", Napi::String::New(env,
#if defined(EMU)
                                           "emu"
#else
                                           "cuda"
#endif
                                           ));
  exports.Set("probe", Napi::Function::New(env, probe));
  exports.Set("reset", Napi::Function::New(env, reset));
  exports.Set("reachOneAnother", Napi::Function::New(env, reachOneAnother));
  exports.Set("uniqueId", Napi::Function::New(env, uniqueId));
  exports.Set("Device", quire::Device::define(env));
#if defined(EMU)
  exports.Set("setChip", Napi::Function::New(env, setChip));
  exports.Set("counters", Napi::Function::New(env, counters));
  exports.Set("injectError", Napi::Function::New(env, injectError));
#endif
  return exports;
}

}  // namespace

NODE_API_MODULE(quire_cuda, initialise)
