// What GPUs that meet in a launch have in the memory of each, for the code of the host too.
#pragma once
#include "../collectives.h"

namespace quire {

// Blocks that may meet in one launch.
constexpr int kMostPeerBlocks = 32;
// A message that fits is summed in one launch: so much is twice in each rank's memory, for even and for odd meetings.
constexpr size_t kPeerSlotBytes = size_t{512} << 10;

// In the memory of each rank; zero at first.
struct PeerMemory {
  // Meetings so far, and an arriveLast counter.
  unsigned meetings, arrived, unused[62];
  // The meeting to which a block of a rank has come: written by that rank.
  unsigned flags[kMostPeerBlocks][kMostPeers];
  char slots[2][kPeerSlotBytes];
};

}  // namespace quire
