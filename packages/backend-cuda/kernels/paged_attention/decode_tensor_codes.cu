// Decode rows on tensor cores over caches of codes; decode_tensor.h has the kernel.
#include "decode_tensor.h"

namespace quire {
namespace {

// Calls f(C*, headDim, heads) with the template arguments of an operation, but for the activations.
template <class F>
cudaError_t withVariant(const PagedAttention& a, F f) {
  return withCodeHeadDim(a.shape.headDim, [&](auto dim) {
    return withHeads<decltype(dim)::value>(a, [&](auto heads) { return withCodes(a.kCache.dtype, [&](auto* code) { return f(code, dim, heads); }); });
  });
}

}  // namespace

size_t decodeTensorCodesScratch(const PagedAttention& a, int maxRows, int smCount) {
  size_t bytes = 0;
  withVariant(a, [&](auto* code, auto dim, auto heads) {
    bytes = decodeScratch<Element<decltype(code)>, decltype(dim)::value, decltype(heads)::value>(a, maxRows, smCount);
    return cudaSuccess;
  });
  return bytes;
}

cudaError_t decodeTensorCodesLaunch(const PagedAttention& a, const Step& s) {
  return withVariant(a, [&](auto* code, auto dim, auto heads) {
    return withSixteenBit(a.qkv.dtype, [&](auto* element) { return decodeLaunch<Element<decltype(element)>, Element<decltype(code)>, decltype(dim)::value, decltype(heads)::value>(a, s); });
  });
}

}  // namespace quire
