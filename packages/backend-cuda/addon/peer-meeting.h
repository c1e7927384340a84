// The memory in which the ranks of one process meet.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "../kernels/collectives.h"

namespace quire {

// One for all ranks of a group. The memory of all is freed when the last one is gone: until then others may read it.
class PeerMeeting {
 public:
  // That of the group with this id; made by the first who asks. Throws std::runtime_error.
  static std::shared_ptr<PeerMeeting> of(const std::string& id, int size);
  PeerMeeting(int size);
  ~PeerMeeting();
  PeerMeeting(const PeerMeeting&) = delete;

  // Gives a rank's GPU, the current one, access to the others, and allocates its memory. Throws std::runtime_error.
  void enter(int rank, const std::vector<int>& ordinals);
  // Once all have entered.
  Peers peersOf(int rank) const;
  // From any thread.
  void abort() { *static_cast<volatile unsigned*>(aborted_) = 1; }

 private:
  std::vector<void*> memory_;
  unsigned* aborted_ = nullptr;
};

// Whether each of these GPUs reaches the memory of each other.
bool reachOneAnother(const std::vector<int>& ordinals);

}  // namespace quire
