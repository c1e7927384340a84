// A device's place among those that work on one model together.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "../libraries/nccl.h"
#include "peer-exports.h"

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
  // The same where the ranks are processes: what the others must have to open this rank's memory, and then that of all of them,
  // in the order of the ranks. Throw std::runtime_error with what keeps them from it.
  PeerExport exportPeer(int ordinal);
  void importPeers(int rank, const std::vector<PeerExport>& all);
  // On the same thread; returns when all others have come. A group of one is none. `usesPeers`: every rank of `tensor` has entered,
  // or imported. Throws std::runtime_error.
  void join(const GroupPlace& tensor, const GroupPlace& pipeline, bool usesPeers);
  // Any thread: lets go of everybody who waits. Nothing that comes later waits either.
  void abort();
  // On the same thread, when the stream is empty and all ranks have been asked to: closes the memory of other processes. They have
  // all done so when this device is disposed of.
  void closePeers();
  Communicators communicators() const { return {tensor_.get(), pipeline_.get(), peers_.memory[0] == nullptr ? nullptr : &peers_}; }
  // Before the streams end.
  void leave();

 private:
  std::mutex mutex_;
  bool aborted_ = false;
  std::unique_ptr<NcclCommunicator> tensor_, pipeline_;
  // Of these two one at most: the other ranks are threads, or processes.
  std::shared_ptr<PeerMeeting> meeting_;
  std::unique_ptr<PeerExports> exports_;
  Peers peers_;
};

}  // namespace quire
