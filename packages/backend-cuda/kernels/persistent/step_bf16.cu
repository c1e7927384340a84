// The kernel of step.h for bf16.
#include "step.h"

namespace quire::persistent {

cudaError_t launchBf16(const PersistentStep& p, const Step& s, bool& taken) { return launch<__nv_bfloat16>(p, s, taken); }

}  // namespace quire::persistent
