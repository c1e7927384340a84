// What a kernel did, counted while it ran. Static budgets are asserted on these where no GPU can be had.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace emu {

struct KernelCounters {
  uint64_t launches = 0;
  uint64_t blocks = 0;
  uint64_t threads = 0;
  uint64_t barriers = 0;
  uint64_t collectives = 0;
  // Through gpu.h's load and store wrappers; a request is one access of one warp.
  uint64_t loadBytes = 0, loadRequests = 0, loadSectors = 0;
  uint64_t storeBytes = 0, storeRequests = 0, storeSectors = 0;
  // Extra cycles of shared-memory requests whose lanes meet in a bank.
  uint64_t sharedRequests = 0, bankConflicts = 0;
};

std::map<std::string, KernelCounters>& kernelCounters();

// Accesses of one warp at one place in the code, gathered until all its lanes have passed.
class RequestLog {
 public:
  enum class Kind { load, store, shared };
  void record(Kind kind, int site, int lane, uintptr_t address, int bytes);
  // Counts what is still open; called when a warp synchronises or ends.
  void flush(KernelCounters& counters);

 private:
  struct Request {
    Kind kind;
    int site;
    uint32_t lanes = 0;
    uintptr_t addresses[32];
    int bytes;
  };
  std::vector<Request> open_;
};

// 32-byte sectors that a warp's request touches.
int sectorsOf(const uintptr_t* addresses, uint32_t lanes, int bytes);
// Extra passes that a shared-memory request needs: the largest number of distinct words in one of 32 banks, less one.
int conflictsOf(const uintptr_t* addresses, uint32_t lanes, int bytes);

}  // namespace emu
