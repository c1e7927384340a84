// Prefill over caches of the dtype of the activations; prefill.h has the kernel.
#include "prefill.h"

namespace quire {

bool prefillTakes(const PagedAttention& a) { return fastSixteenBit(a) || fastCodes(a); }

cudaError_t prefillLaunch(const PagedAttention& a, const Step& s) {
  if (holdsCodes(a.kCache)) return prefillCodesLaunch(a, s);
  return withHeadDim(a.shape.headDim, [&](auto dim) {
    return withSixteenBit(a.qkv.dtype, [&](auto* element) {
      using T = Element<decltype(element)>;
      return launchBands<T, T, decltype(dim)::value>(a, s);
    });
  });
}

}  // namespace quire
