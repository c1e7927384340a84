// How this host thread launches kernels. Plain C++, for gpu.h and for the thread that launches.
#pragma once

namespace quire {

// Each kernel may start while the one in front of it still runs (programmatic dependent launch, compute capability 9.0): every
// kernel calls waitForPrevious() before it touches what another kernel touches.
inline thread_local bool dependentLaunches = false;

}  // namespace quire
