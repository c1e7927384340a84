// The forms of pagedAttention. paged_attention.cu gives decode rows and the other rows of a step to their own forms.
#pragma once
#include "../kernels.h"

namespace quire {

cudaError_t attentionRowsLaunch(const PagedAttention&, const Step&);

}  // namespace quire
