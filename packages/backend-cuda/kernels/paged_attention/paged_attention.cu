// pagedAttention: causal attention over the paged cache. Decode rows and the other tokens of a step go to forms of their own,
// so a step has one launch where all rows decode and two where they are mixed. The choice depends on dtypes and geometry, not
// on the batch: a row's bits are the same in any.
#include "variants.h"

#include <algorithm>

namespace quire {

size_t pagedAttentionWorkspace(const PagedAttention& a, const StepSizes& maxSizes, int smCount) {
  const int rows = maxSizes.sequences;
  if (decodeTensorTakes(a)) return workspaceBytes(decodeTensorScratch(a, rows, smCount));
  return decodeSimtTakes(a) ? workspaceBytes(decodeSimtScratch(a, rows, smCount)) : 0;
}

cudaError_t pagedAttention(const PagedAttention& a, const Step& s) {
  const bool tensor = decodeTensorTakes(a), simt = !tensor && decodeSimtTakes(a);
  const int decodeTokens = std::min(s.sizes.decodeSequences, a.out.rows);
  if (!tensor && !simt && !prefillTakes(a)) return a.out.rows == 0 ? cudaSuccess : attentionRowsLaunch(a, s, 0);
  if (decodeTokens > 0) {
    if (const cudaError_t e = tensor ? decodeTensorLaunch(a, s) : decodeSimtLaunch(a, s); e != cudaSuccess) return e;
  }
  if (a.out.rows == decodeTokens) return cudaSuccess;
  return prefillTakes(a) ? prefillLaunch(a, s) : attentionRowsLaunch(a, s, decodeTokens);
}

}  // namespace quire
