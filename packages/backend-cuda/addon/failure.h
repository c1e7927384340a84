// What went wrong on a device.
#pragma once
#include <string>

#include "cuda_runtime.h"

namespace quire {

struct DeviceFailure {
  cudaError_t error = cudaSuccess;
  // The operation of the contract that failed; empty where it is not known.
  std::string op;
  // In words: what was being done, and the report of the runtime.
  std::string message;
  // The context is unusable from now on.
  bool sticky = false;
  explicit operator bool() const { return error != cudaSuccess; }
};

bool isSticky(cudaError_t error);

// `op`: the operation whose call returned the error, or empty; `doing` otherwise. A sticky error was caused by anything that ran
// before, so its operation is known to the emulator alone.
DeviceFailure describeFailure(cudaError_t error, const std::string& op, const std::string& doing);

}  // namespace quire
