// The memory in which ranks meet that are processes of one machine, by CUDA IPC.
#pragma once
#include <string>
#include <vector>

#include "../kernels/collectives.h"

namespace quire {

// What the other ranks must have to open the memory of one. They get it as bytes.
struct PeerExport {
  // Tells machines apart.
  char host[160];
  // The GPU's place on the PCI bus of its machine.
  char gpu[32];
  cudaIpcMemHandle_t memory;
};

// Every rank exports memory of its own and opens that of the others. Memory may be freed when no other process has it open any
// more: where the others have not been asked to close it first, because the group ended in another way, it lasts as long as the
// process.
class PeerExports {
 public:
  // Allocates and exports on the current GPU, which is `ordinal`. Throws std::runtime_error.
  explicit PeerExports(int ordinal);
  ~PeerExports();
  PeerExports(const PeerExports&) = delete;

  const PeerExport& own() const { return own_; }
  // Opens what all ranks export; this one is the rank-th. Throws std::runtime_error where it cannot be, with the reason.
  void open(int rank, const std::vector<PeerExport>& all);
  // Of the ranks whose memory is open.
  const Peers& peers() const { return peers_; }
  // From any thread.
  void abort() { *static_cast<volatile unsigned*>(aborted_) = 1; }
  // Closes what was opened: nothing that runs may still reach it.
  void close();
  // No other process has the memory of this one open any more, by the time at which this object goes.
  void othersClose() { othersClose_ = true; }

 private:
  const int ordinal_;
  PeerExport own_{};
  Peers peers_;
  void* memory_ = nullptr;
  unsigned* aborted_ = nullptr;
  bool othersClose_ = false;
};

}  // namespace quire
