// A device's place among those that work on one model together.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "../libraries/nccl.h"

namespace quire {

struct GroupPlace {
  nccl::UniqueId id;
  int rank = 0, size = 1;
};

class PeerMeeting;

class DeviceGroup {
 public:
  // On the device's own thread, before anybody joins: sets up memory that all ranks reach, which are these GPUs of this process.
  // What fails here keeps nobody waiting. Throws std::runtime_error.
  void enter(const std::vector<int>& ordinals, const GroupPlace& tensor);
  // On the same thread; returns when all others have come. A group of one is none. Throws std::runtime_error.
  void join(const GroupPlace& tensor, const GroupPlace& pipeline);
  // Any thread: lets go of everybody who waits. Nothing that comes later waits either.
  void abort();
  Communicators communicators() const { return {tensor_.get(), pipeline_.get(), peers_.memory[0] == nullptr ? nullptr : &peers_}; }
  // Before the streams end.
  void leave();

 private:
  std::mutex mutex_;
  bool aborted_ = false;
  std::unique_ptr<NcclCommunicator> tensor_, pipeline_;
  std::shared_ptr<PeerMeeting> meeting_;
  Peers peers_;
};

}  // namespace quire
