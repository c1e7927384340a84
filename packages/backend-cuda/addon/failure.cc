#include "failure.h"

namespace quire {

// The errors of which the runtime's documentation says that the process must end to use CUDA again.
bool isSticky(cudaError_t error) {
  switch (static_cast<int>(error)) {
    case 214:  // ECC uncorrectable
    case 220:  // NVLink uncorrectable
    case 226:  // contained
    case 700:  // illegal address
    case 702:  // launch timeout
    case 709:  // context is destroyed
    case 710:  // assert
    case 714:  // hardware stack error
    case 715:  // illegal instruction
    case 716:  // misaligned address
    case 717:  // invalid address space
    case 718:  // invalid program counter
    case 719:  // launch failure
    case 721:  // tensor memory leak
    case 911:  // external device
    case 999:  // unknown
      return true;
    default:
      return false;
  }
}

DeviceFailure describeFailure(cudaError_t error, const std::string& op, const std::string& doing) {
  const bool sticky = isSticky(error);
  std::string culprit = sticky ? "" : op, report = cudaGetErrorString(error);
#if defined(EMU)
  if (error == cudaErrorLaunchFailure && !emu::lastFault().empty()) culprit = emu::faultedOperation(), report = emu::lastFault();
#endif
  std::string message = culprit.empty() ? "the device failed" : culprit + " failed";
  const std::string& seen = op.empty() ? doing : op;
  if (culprit.empty() && !seen.empty()) message += ", as was seen at " + seen;
  return {error, culprit, message + ": " + cudaGetErrorName(error) + " (" + report + ")", sticky};
}

}  // namespace quire
