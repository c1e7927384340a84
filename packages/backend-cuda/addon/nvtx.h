// Ranges in a profiler's timeline (nsys profile -t nvtx). Without a profiler a range costs a load and a branch.
#pragma once

#if !defined(EMU) && defined(__has_include)
#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define QUIRE_NVTX 1
#endif
#endif

namespace quire {

// What this host thread is at, while the object lives.
class NvtxRange {
 public:
#if defined(QUIRE_NVTX)
  explicit NvtxRange(const char* name) { nvtxRangePushA(name); }
  ~NvtxRange() { nvtxRangePop(); }
#else
  explicit NvtxRange(const char*) {}
#endif
  NvtxRange(const NvtxRange&) = delete;
  NvtxRange& operator=(const NvtxRange&) = delete;
};

}  // namespace quire
