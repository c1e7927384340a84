// pagedAttention with prefill on warpgroup products; prefill_wgmma.h has the kernel. Compiled for sm_90a; on other chips it is empty.
#include "prefill_wgmma.h"

#include <algorithm>

#include "../ops/attention_wgmma.h"
#include "variants.h"

namespace quire {
namespace {

template <class T, int kHeadDim>
cudaError_t launchGroups(const PagedAttention& a, const Step& s) {
  // Two warpgroups where their tiles fill the chip, which holds one to an SM. The bits are the same.
  const bool fills = mostTiles(a, s, WideShape<kHeadDim, 2>::kRows) * a.shape.kvHeads > s.smCount;
  return fills ? launchWide<T, kHeadDim, 2>(a, s) : launchWide<T, kHeadDim, 1>(a, s);
}

}  // namespace

bool chipHasWgmma() { return hasWgmma(); }

bool wgmmaTakes(const PagedAttention& a) { return fastSixteenBit(a) && (a.shape.headDim == 64 || a.shape.headDim == 128); }

cudaError_t pagedAttentionWgmma(const PagedAttention& a, const Step& s) {
  const int decodeTokens = std::min(s.sizes.decodeSequences, a.out.rows);
  if (decodeTokens > 0) {
    if (const cudaError_t e = decodeTensorLaunch(a, s); e != cudaSuccess) return e;
  }
  if (a.out.rows == decodeTokens) return cudaSuccess;
  return withSixteenBit(a.qkv.dtype, [&](auto* element) {
    using T = Element<decltype(element)>;
    return a.shape.headDim == 64 ? launchGroups<T, 64>(a, s) : launchGroups<T, 128>(a, s);
  });
}

}  // namespace quire
