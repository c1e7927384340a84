// A stand-in for NCCL among the devices of the emulated machine: the entry points that Quire calls, with NCCL's own declarations.
// A rank is a host thread with a device of its own, in this process or another one of this machine. Its stream stands still until
// all ranks have come to the same call, as a stream of a GPU does. Sums are added in the order of the ranks, in f32, and rounded
// once. An abort lets everybody go, with what was to be received left as it was.
#include <cstring>
#include <memory>
#include <stdexcept>

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"
#include "shared-group.h"

struct ncclUniqueId { char internal[128]; };

namespace {
enum Status { kSuccess = 0, kUnhandledCudaError = 1, kInvalidArgument = 4, kRemoteError = 6 };
constexpr int kInt8 = 0, kUint8 = 1, kFloat16 = 6, kFloat32 = 7, kBfloat16 = 9, kSum = 0;

size_t bytesOf(int type) {
  if (type == kInt8 || type == kUint8) return 1;
  return type == kFloat16 || type == kBfloat16 ? 2 : type == 4 || type == 5 || type == 8 ? 8 : 4;
}

// Element `i` of data of a floating-point type.
float at(const char* data, int type, size_t i) {
  if (type == kFloat16) return __half2float(reinterpret_cast<const __half*>(data)[i]);
  if (type == kBfloat16) return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(data)[i]);
  return reinterpret_cast<const float*>(data)[i];
}
void put(char* data, int type, size_t i, float value) {
  if (type == kFloat16) reinterpret_cast<__half*>(data)[i] = __float2half_rn(value);
  else if (type == kBfloat16) reinterpret_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(value);
  else reinterpret_cast<float*>(data)[i] = value;
}

enum Kind : uint32_t { kAllReduce, kAllGather, kBroadcast };
struct Call {
  Kind kind;
  const char* from;
  char* to;
  size_t count;
  int type, root;
};

void meet(emu::SharedGroup& group, const Call& c) {
  const size_t element = bytesOf(c.type), bytes = c.count * element;
  const emu::Meeting meeting{c.kind, static_cast<uint32_t>(c.type), static_cast<uint32_t>(c.root), 0, bytes};
  group.meet(meeting, c.from, [&](size_t from, size_t length, const emu::SharedGroup::Pieces& pieces) {
    if (length == 0) return;
    if (c.kind == kBroadcast) std::memcpy(c.to + from, pieces(c.root), length);
    for (int rank = 0; c.kind == kAllGather && rank < group.size; rank++) std::memcpy(c.to + rank * bytes + from, pieces(rank), length);
    for (size_t i = 0; c.kind == kAllReduce && i < length / element; i++) {
      float sum = 0;
      for (int rank = 0; rank < group.size; rank++) sum += at(pieces(rank), c.type, i);
      put(c.to + from, c.type, i, sum);
    }
  });
}

struct Comm {
  std::shared_ptr<emu::SharedGroup> group;
};
emu::SharedGroup& groupOf(void* comm) { return *static_cast<Comm*>(comm)->group; }

int enqueue(void* comm, void* stream, std::function<void(emu::SharedGroup&)> run) {
  const std::string operation = emu::operation;
  const auto exchange = [group = static_cast<Comm*>(comm)->group, operation, run = std::move(run)] {
    emu::operation = operation;
    run(*group);
  };
  return emu::exchange(exchange, static_cast<cudaStream_t>(stream)) == cudaSuccess ? kSuccess : kUnhandledCudaError;
}
int collective(void* comm, void* stream, const Call& call) {
  return enqueue(comm, stream, [call](emu::SharedGroup& group) { meet(group, call); });
}
}  // namespace

extern "C" {
int ncclGetVersion(int* version) { return *version = 22700, kSuccess; }
const char* ncclGetErrorString(int status) {
  switch (status) {
    case kSuccess: return "no error";
    case kUnhandledCudaError: return "unhandled cuda error";
    case kInvalidArgument: return "invalid argument";
    default: return "remote process exited or there was a network error";
  }
}
int ncclGetUniqueId(ncclUniqueId* id) {
  const std::string name = emu::SharedGroup::freshName();
  *id = {};
  std::memcpy(id->internal, name.data(), name.size());
  return kSuccess;
}
int ncclCommInitRank(void** comm, int size, ncclUniqueId id, int rank) {
  if (size < 1 || size > emu::SharedGroup::kMostRanks || rank < 0 || rank >= size || id.internal[sizeof id.internal - 1] != 0) return kInvalidArgument;
  std::shared_ptr<emu::SharedGroup> group;
  try {
    group = std::make_shared<emu::SharedGroup>(id.internal, rank, size);
  } catch (const std::runtime_error&) {
    return kInvalidArgument;
  }
  // The last owner of a group that does not come together unmaps and unlinks it.
  if (!group->join()) return kRemoteError;
  *comm = new Comm{group};
  return kSuccess;
}
int ncclCommAbort(void* comm) {
  groupOf(comm).abort();
  return delete static_cast<Comm*>(comm), kSuccess;
}
int ncclCommDestroy(void* comm) { return delete static_cast<Comm*>(comm), kSuccess; }
int ncclCommGetAsyncError(void* comm, int* error) { return *error = groupOf(comm).aborted() ? kRemoteError : kSuccess, kSuccess; }
int ncclAllReduce(const void* from, void* to, size_t count, int type, int op, void* comm, void* stream) {
  if (op != kSum || (type != kFloat16 && type != kFloat32 && type != kBfloat16)) return kInvalidArgument;
  return collective(comm, stream, {kAllReduce, static_cast<const char*>(from), static_cast<char*>(to), count, type, 0});
}
int ncclAllGather(const void* from, void* to, size_t count, int type, void* comm, void* stream) {
  return collective(comm, stream, {kAllGather, static_cast<const char*>(from), static_cast<char*>(to), count, type, 0});
}
int ncclBroadcast(const void* from, void* to, size_t count, int type, int root, void* comm, void* stream) {
  return collective(comm, stream, {kBroadcast, static_cast<const char*>(from), static_cast<char*>(to), count, type, root});
}
int ncclSend(const void* from, size_t count, int type, int peer, void* comm, void* stream) {
  return enqueue(comm, stream, [=](emu::SharedGroup& group) { group.send(peer, from, count * bytesOf(type)); });
}
int ncclRecv(void* to, size_t count, int type, int peer, void* comm, void* stream) {
  return enqueue(comm, stream, [=](emu::SharedGroup& group) { group.receive(peer, to, count * bytesOf(type)); });
}
int ncclGroupStart() { return kSuccess; }
int ncclGroupEnd() { return kSuccess; }
}
