// The kernel of step.h for f16.
#include "step.h"

namespace quire::persistent {

cudaError_t launchF16(const PersistentStep& p, const Step& s, bool& taken) { return launch<__half>(p, s, taken); }

}  // namespace quire::persistent
