// pagedAttention on chips with warpgroup products, of compute capability 9.0 alone.
#pragma once
#include "attention.h"

namespace quire {

// Whether the current device has them.
bool chipHasWgmma();
// Whether the form takes an operation.
bool wgmmaTakes(const PagedAttention&);
// The same as pagedAttention(), but for the bits of tokens behind the decode rows, in the same workspace. Only where both are true.
cudaError_t pagedAttentionWgmma(const PagedAttention&, const Step&);

}  // namespace quire
