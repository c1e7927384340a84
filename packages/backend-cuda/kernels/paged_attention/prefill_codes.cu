// Prefill over caches of codes; prefill.h has the kernel.
#include "prefill.h"

namespace quire {

cudaError_t prefillCodesLaunch(const PagedAttention& a, const Step& s) {
  return withCodeHeadDim(a.shape.headDim, [&](auto dim) {
    return withCodes(a.kCache.dtype, [&](auto* code) {
      return withSixteenBit(a.qkv.dtype, [&](auto* element) { return launchBands<Element<decltype(element)>, Element<decltype(code)>, decltype(dim)::value>(a, s); });
    });
  });
}

}  // namespace quire
