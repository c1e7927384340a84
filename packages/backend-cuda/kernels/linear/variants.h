// The forms of linear. linear.cu chooses one from the weight's shape and the number of rows.
#pragma once
#include "../kernels.h"

namespace quire {

cudaError_t linearStreamingLaunch(const Linear&, const Step&);

}  // namespace quire
