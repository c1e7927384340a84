// A device among the ranks of a group.
#include "device.h"

#include <algorithm>
#include <cstring>

namespace quire {

namespace {

// { rank, size, id }: `id` are the bytes of a unique id, and may be empty in a group of one.
GroupPlace placeOf(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  const auto id = object.Get("id").As<Napi::Uint8Array>();
  GroupPlace place{{}, object.Get("rank").As<Napi::Number>(), object.Get("size").As<Napi::Number>()};
  std::copy_n(id.Data(), std::min(id.ByteLength(), sizeof place.id.internal), place.id.internal);
  return place;
}

}  // namespace

Napi::Value Device::groupPromise(Napi::Env env, std::function<void()> work, std::function<Napi::Value(Napi::Env)> deliver) {
  int id = 0;
  const Napi::Value promise = makePending(env, id, std::move(deliver));
  engine_.post([this, id, work = std::move(work)] {
    DeviceFailure failure;
    try {
      if (engine_.stopping()) failure = disposed();
      else work();
    } catch (const std::runtime_error& error) {
      failure = {cudaErrorUnknown, "", error.what(), false};
    }
    engine_.whenReached(engine_.stream(), std::move(failure), [this, id](DeviceFailure f) { settle(id, std::move(f)); });
  });
  return promise;
}

Napi::Value Device::enterGroup(const Napi::CallbackInfo& info) {
  const auto ordinals = info[1].As<Napi::Int32Array>();
  return groupPromise(info.Env(), [this, tensor = placeOf(info[0]), all = std::vector<int>(ordinals.Data(), ordinals.Data() + ordinals.ElementLength())] { group_.enter(all, tensor); });
}

Napi::Value Device::exportPeer(const Napi::CallbackInfo& info) {
  const auto exported = std::make_shared<PeerExport>();
  return groupPromise(info.Env(), [this, exported] { *exported = group_.exportPeer(ordinal_); }, [exported](Napi::Env env) -> Napi::Value {
    auto bytes = Napi::Uint8Array::New(env, sizeof *exported);
    std::memcpy(bytes.Data(), exported.get(), sizeof *exported);
    return bytes;
  });
}

// importPeers(rank, exports): of all ranks, as exportPeer() made them.
Napi::Value Device::importPeers(const Napi::CallbackInfo& info) {
  const auto list = info[1].As<Napi::Array>();
  std::vector<PeerExport> all(list.Length());
  for (uint32_t i = 0; i < list.Length(); i++) {
    const auto bytes = list.Get(i).As<Napi::Uint8Array>();
    if (bytes.ByteLength() != sizeof(PeerExport)) throw Napi::Error::New(info.Env(), "found an export of " + std::to_string(bytes.ByteLength()) + " bytes, expected " + std::to_string(sizeof(PeerExport)));
    std::memcpy(&all[i], bytes.Data(), sizeof(PeerExport));
  }
  return groupPromise(info.Env(), [this, rank = info[0].As<Napi::Number>().Int32Value(), all] { group_.importPeers(rank, all); });
}

Napi::Value Device::joinGroup(const Napi::CallbackInfo& info) {
  const bool usesPeers = info[2].As<Napi::Boolean>();
  return groupPromise(
      info.Env(),
      [this, usesPeers, tensor = placeOf(info[0]), pipeline = placeOf(info[1])] {
        group_.join(tensor, pipeline, usesPeers);
        agreeOnLinear();
        engine_.endAtFirstFailure();
      },
      [this](Napi::Env env) -> Napi::Value {
        settings_.groups = group_.communicators();
        if (!hasCommonLibrary_) linearLibrary_.reset(), linearLibraryReport_ = "another rank of the group has none, or another one";
        settings_.linearLibrary = linearLibrary_.get();
        runner_.setUp(settings_);
        return env.Undefined();
      });
}

// Where one rank has no library, or another one, none may use it.
void Device::agreeOnLinear() {
  Communicator* const ranks = group_.communicators().tensor;
  if (ranks == nullptr || settings_.batchInvariant) return;
  auto agreement = std::make_unique<LinearAgreement>(*ranks, engine_.stream());
  cudaError_t error = cudaSuccess;
  hasCommonLibrary_ = agreement->isSame(linearLibrary_ ? linearLibrary_->machine() : "", error);
  if (error != cudaSuccess) throw std::runtime_error(describeFailure(error, "", "comparing the libraries of a group").message);
  if (linearLibrary_) linearLibrary_->agree(std::move(agreement));
}

Napi::Value Device::leaveGroup(const Napi::CallbackInfo& info) {
  group_.abort();
  return groupPromise(info.Env(), [this] {
    engine_.note(cudaStreamSynchronize(engine_.stream()), "", "leaving a group");
    group_.closePeers();
  });
}

void Device::abortGroup(const Napi::CallbackInfo&) { group_.abort(); }

}  // namespace quire
