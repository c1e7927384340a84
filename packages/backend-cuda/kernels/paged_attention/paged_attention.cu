// pagedAttention: causal attention over the paged cache.
#include "variants.h"

namespace quire {

size_t pagedAttentionWorkspace(const PagedAttention&, const StepSizes&, int) { return 0; }

cudaError_t pagedAttention(const PagedAttention& a, const Step& s) {
  if (a.out.rows == 0) return cudaSuccess;
  return attentionRowsLaunch(a, s);
}

}  // namespace quire
