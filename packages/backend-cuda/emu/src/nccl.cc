// A stand-in for NCCL among the devices of the emulated machine: the entry points that Quire calls, with NCCL's own declarations.
// A rank is a host thread with a device of its own. Its stream stands still until all ranks have come to the same call, as a
// stream of a GPU does; the last one that comes moves the data of all. Sums are added in the order of the ranks, in f32, and
// rounded once. An abort lets everybody go, with what was to be received left as it was.
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"

struct ncclUniqueId { char internal[128]; };

namespace {
enum Status { kSuccess = 0, kUnhandledCudaError = 1, kInvalidArgument = 4, kRemoteError = 6 };
constexpr int kInt8 = 0, kUint8 = 1, kFloat16 = 6, kFloat32 = 7, kBfloat16 = 9, kSum = 0;

size_t bytesOf(int type) {
  if (type == kInt8 || type == kUint8) return 1;
  return type == kFloat16 || type == kBfloat16 ? 2 : type == 4 || type == 5 || type == 8 ? 8 : 4;
}

struct Call {
  enum class Kind { allReduce, allGather, broadcast } kind;
  const char* from;
  char* to;
  size_t count;
  int type, root;
  bool matches(const Call& other) const { return kind == other.kind && count == other.count && type == other.type && root == other.root; }
  size_t bytes() const { return count * bytesOf(type); }
};

float at(const Call& c, size_t i) {
  if (c.type == kFloat16) return __half2float(reinterpret_cast<const __half*>(c.from)[i]);
  if (c.type == kBfloat16) return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(c.from)[i]);
  return reinterpret_cast<const float*>(c.from)[i];
}
void put(const Call& c, size_t i, float value) {
  if (c.type == kFloat16) reinterpret_cast<__half*>(c.to)[i] = __float2half_rn(value);
  else if (c.type == kBfloat16) reinterpret_cast<__nv_bfloat16*>(c.to)[i] = __float2bfloat16_rn(value);
  else reinterpret_cast<float*>(c.to)[i] = value;
}

void moveAll(const std::vector<Call>& calls) {
  const Call& first = calls[0];
  for (size_t i = 0; first.kind == Call::Kind::allReduce && i < first.count; i++) {
    float sum = 0;
    for (const Call& c : calls) sum += at(c, i);
    for (const Call& c : calls) put(c, i, sum);
  }
  for (size_t rank = 0; first.kind == Call::Kind::allGather && rank < calls.size(); rank++) {
    for (const Call& c : calls) std::memmove(c.to + rank * first.bytes(), calls[rank].from, first.bytes());
  }
  for (size_t rank = 0; first.kind == Call::Kind::broadcast && rank < calls.size(); rank++) {
    std::memmove(calls[rank].to, calls[first.root].from, first.bytes());
  }
}

struct Message {
  const void* data;
  size_t bytes;
  bool taken = false;
};

class Group {
 public:
  explicit Group(int size) : size_(size), calls_(size) {}
  int size() const { return size_; }

  // Returns when all ranks are here; false after an abort.
  bool join() {
    std::unique_lock lock(mutex_);
    joined_++;
    moved_.notify_all();
    moved_.wait(lock, [this] { return joined_ >= size_ || aborted_; });
    return !aborted_;
  }
  void abort() {
    std::lock_guard lock(mutex_);
    aborted_ = true;
    moved_.notify_all();
  }
  bool aborted() {
    std::lock_guard lock(mutex_);
    return aborted_;
  }
  void meet(int rank, const Call& call) {
    std::unique_lock lock(mutex_);
    calls_[rank] = call;
    const uint64_t round = round_;
    if (++arrived_ == size_) {
      for (const Call& c : calls_) if (!c.matches(calls_[0])) fault_ = "the ranks of a group meet in different calls of NCCL";
      if (fault_.empty() && !aborted_) moveAll(calls_);
      arrived_ = 0;
      round_++;
      moved_.notify_all();
    } else {
      moved_.wait(lock, [&] { return round_ != round || aborted_; });
    }
    if (!fault_.empty()) throw emu::KernelFault{fault_, emu::operation};
  }
  void send(int from, int to, const void* data, size_t bytes) {
    std::unique_lock lock(mutex_);
    Message message{data, bytes};
    messages_[{from, to}].push_back(&message);
    moved_.notify_all();
    moved_.wait(lock, [&] { return message.taken || aborted_; });
  }
  void receive(int from, int to, void* data, size_t bytes) {
    std::unique_lock lock(mutex_);
    auto& queue = messages_[{from, to}];
    moved_.wait(lock, [&] { return !queue.empty() || aborted_; });
    if (aborted_) return;
    Message& message = *queue.front();
    queue.pop_front();
    message.taken = true;
    moved_.notify_all();
    if (message.bytes != bytes) throw emu::KernelFault{"ncclRecv takes " + std::to_string(bytes) + " bytes of a message of " + std::to_string(message.bytes), emu::operation};
    std::memmove(data, message.data, bytes);
  }

 private:
  const int size_;
  std::mutex mutex_;
  std::condition_variable moved_;
  int joined_ = 0, arrived_ = 0;
  uint64_t round_ = 0;
  bool aborted_ = false;
  std::string fault_;
  std::vector<Call> calls_;
  std::map<std::pair<int, int>, std::deque<Message*>> messages_;
};

struct Comm {
  std::shared_ptr<Group> group;
  int rank;
};
Comm& commOf(void* comm) { return *static_cast<Comm*>(comm); }

// Groups that not all ranks have joined yet, by their id.
std::mutex groupsMutex;
std::map<uint64_t, std::weak_ptr<Group>> groups;

int enqueue(void* comm, void* stream, std::function<void(Group&, int rank)> run) {
  const Comm own = commOf(comm);
  const std::string operation = emu::operation;
  const auto exchange = [own, operation, run = std::move(run)] {
    emu::operation = operation;
    run(*own.group, own.rank);
  };
  return emu::exchange(exchange, static_cast<cudaStream_t>(stream)) == cudaSuccess ? kSuccess : kUnhandledCudaError;
}
int collective(void* comm, void* stream, const Call& call) {
  return enqueue(comm, stream, [call](Group& group, int rank) { group.meet(rank, call); });
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
  static std::atomic<uint64_t> next{1};
  const uint64_t number = next++;
  *id = {};
  std::memcpy(id->internal, &number, sizeof number);
  return kSuccess;
}
int ncclCommInitRank(void** comm, int size, ncclUniqueId id, int rank) {
  if (size < 1 || rank < 0 || rank >= size) return kInvalidArgument;
  uint64_t number = 0;
  std::memcpy(&number, id.internal, sizeof number);
  std::shared_ptr<Group> group;
  {
    std::lock_guard lock(groupsMutex);
    group = groups[number].lock();
    if (!group) groups[number] = group = std::make_shared<Group>(size);
  }
  if (group->size() != size) return kInvalidArgument;
  *comm = new Comm{group, rank};
  return group->join() ? kSuccess : kRemoteError;
}
int ncclCommAbort(void* comm) {
  commOf(comm).group->abort();
  return delete static_cast<Comm*>(comm), kSuccess;
}
int ncclCommDestroy(void* comm) { return delete static_cast<Comm*>(comm), kSuccess; }
int ncclCommGetAsyncError(void* comm, int* error) { return *error = commOf(comm).group->aborted() ? kRemoteError : kSuccess, kSuccess; }
int ncclAllReduce(const void* from, void* to, size_t count, int type, int op, void* comm, void* stream) {
  if (op != kSum || (type != kFloat16 && type != kFloat32 && type != kBfloat16)) return kInvalidArgument;
  return collective(comm, stream, {Call::Kind::allReduce, static_cast<const char*>(from), static_cast<char*>(to), count, type, 0});
}
int ncclAllGather(const void* from, void* to, size_t count, int type, void* comm, void* stream) {
  return collective(comm, stream, {Call::Kind::allGather, static_cast<const char*>(from), static_cast<char*>(to), count, type, 0});
}
int ncclBroadcast(const void* from, void* to, size_t count, int type, int root, void* comm, void* stream) {
  return collective(comm, stream, {Call::Kind::broadcast, static_cast<const char*>(from), static_cast<char*>(to), count, type, root});
}
int ncclSend(const void* from, size_t count, int type, int peer, void* comm, void* stream) {
  return enqueue(comm, stream, [=](Group& group, int rank) { group.send(rank, peer, from, count * bytesOf(type)); });
}
int ncclRecv(void* to, size_t count, int type, int peer, void* comm, void* stream) {
  return enqueue(comm, stream, [=](Group& group, int rank) { group.receive(peer, rank, to, count * bytesOf(type)); });
}
int ncclGroupStart() { return kSuccess; }
int ncclGroupEnd() { return kSuccess; }
}
