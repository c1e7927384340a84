// Whether prefill goes to the form on warpgroup products (kernels/paged_attention/prefill_wgmma.h): a trial on the GPU at hand.
//
// That form has been run on the emulator alone. So it is taken only where it has shown on this GPU, in this process, that its outputs
// are those of the other form up to rounding, the same bits each time, and sooner there. The choice holds for an operation's
// geometry and dtype, in steps with a long prompt, as that of the trial is. It depends on times: where all bits have to be the same
// in any batch and after any start, no trial is made. Nor is one that did not end: it may have cost the GPU.
#pragma once
#include <map>
#include <string>

#include "../kernels/ops/attention_wgmma.h"
#include "trial-marks.h"

namespace quire {

class PrefillTrial {
 public:
  // always: without a trial and in every step, for checks of that form. `marksFile`: of trials, may be empty.
  PrefillTrial(int ordinal, int smCount, bool always, std::string marksFile);
  // On the current device. The first time for a geometry it runs both forms on memory of its own, for some milliseconds, and waits.
  bool takes(const PagedAttention&);
  // Whether a step is one of those that the choice holds for.
  bool suits(const PagedAttention&, const StepSizes&) const;

 private:
  const int smCount_;
  const bool always_;
  TrialMarks marks_;
  std::map<std::string, bool> choices_;
};

}  // namespace quire
