// Decode rows on tensor cores, whose caches have the dtype of the activations; decode_tensor.h has the kernel.
#include "decode_tensor.h"

namespace quire {
namespace {

// Calls f(T*, headDim, heads) with the template arguments of an operation.
template <class F>
cudaError_t withVariant(const PagedAttention& a, F f) {
  return withHeadDim(a.shape.headDim, [&](auto dim) {
    return withHeads<decltype(dim)::value>(a, [&](auto heads) { return withSixteenBit(a.qkv.dtype, [&](auto* element) { return f(element, dim, heads); }); });
  });
}

}  // namespace

bool decodeTensorTakes(const PagedAttention& a) { return fastSixteenBit(a) || fastCodes(a); }

size_t decodeTensorScratch(const PagedAttention& a, int maxRows, int smCount) {
  if (holdsCodes(a.kCache)) return decodeTensorCodesScratch(a, maxRows, smCount);
  size_t bytes = 0;
  withVariant(a, [&](auto* element, auto dim, auto heads) {
    bytes = decodeScratch<Element<decltype(element)>, decltype(dim)::value, decltype(heads)::value>(a, maxRows, smCount);
    return cudaSuccess;
  });
  return bytes;
}

cudaError_t decodeTensorLaunch(const PagedAttention& a, const Step& s) {
  if (holdsCodes(a.kCache)) return decodeTensorCodesLaunch(a, s);
  return withVariant(a, [&](auto* element, auto dim, auto heads) {
    using T = Element<decltype(element)>;
    return decodeLaunch<T, T, decltype(dim)::value, decltype(heads)::value>(a, s);
  });
}

}  // namespace quire
