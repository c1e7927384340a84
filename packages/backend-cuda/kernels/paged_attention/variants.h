// The forms of pagedAttention. paged_attention.cu gives the decode rows and the other tokens of a step to forms of their own.
// A form says whether it takes an operation, and is launched only where it does.
#pragma once
#include <type_traits>

#include "../lib/kv_codes.h"
#include "../ops/attention.h"

namespace quire {

// Decode rows on tensor cores. The token of decode row i is token i.
bool decodeTensorTakes(const PagedAttention&);
size_t decodeTensorScratch(const PagedAttention&, int maxRows, int smCount);
cudaError_t decodeTensorLaunch(const PagedAttention&, const Step&);
// The part of it for caches of codes.
size_t decodeTensorCodesScratch(const PagedAttention&, int maxRows, int smCount);
cudaError_t decodeTensorCodesLaunch(const PagedAttention&, const Step&);

// Decode rows of f32 activations on scalar units.
bool decodeSimtTakes(const PagedAttention&);
size_t decodeSimtScratch(const PagedAttention&, int maxRows, int smCount);
cudaError_t decodeSimtLaunch(const PagedAttention&, const Step&);

// All tokens behind those of the decode rows, padding included, on tensor cores.
bool prefillTakes(const PagedAttention&);
cudaError_t prefillLaunch(const PagedAttention&, const Step&);
cudaError_t prefillCodesLaunch(const PagedAttention&, const Step&);

// Tokens from `firstToken` on, in any dtype and head dimension up to 256.
cudaError_t attentionRowsLaunch(const PagedAttention&, const Step&, int firstToken);

// What the fast forms ask of the geometry: whole groups, pages of a power of two.
inline bool regular(const AttentionShape& s) { return s.heads % s.kvHeads == 0 && (s.blockSize & (s.blockSize - 1)) == 0; }

// Calls f(std::integral_constant<int, headDim>) for the head dimensions of the fast forms.
template <class F>
cudaError_t withHeadDim(int headDim, F f) {
  switch (headDim) {
    case 32: return f(std::integral_constant<int, 32>{});
    case 64: return f(std::integral_constant<int, 64>{});
    case 80: return f(std::integral_constant<int, 80>{});
    case 96: return f(std::integral_constant<int, 96>{});
    case 128: return f(std::integral_constant<int, 128>{});
    case 256: return f(std::integral_constant<int, 256>{});
    default: return cudaErrorInvalidValue;
  }
}
inline bool fastHeadDim(int headDim) { return headDim == 32 || headDim == 64 || headDim == 80 || headDim == 96 || headDim == 128 || headDim == 256; }
// The same for the forms over codes on tensor cores; attentionRows takes the others.
template <class F>
cudaError_t withCodeHeadDim(int headDim, F f) {
  switch (headDim) {
    case 64: return f(std::integral_constant<int, 64>{});
    case 128: return f(std::integral_constant<int, 128>{});
    case 256: return f(std::integral_constant<int, 256>{});
    default: return cudaErrorInvalidValue;
  }
}

// What the forms on tensor cores take: 16-bit activations with a cache of their dtype, or of codes.
inline bool fastSixteenBit(const PagedAttention& a) { return a.qkv.dtype != DType::f32 && a.qkv.dtype == a.kCache.dtype && regular(a.shape) && fastHeadDim(a.shape.headDim); }
inline bool fastCodes(const PagedAttention& a) {
  const int dim = a.shape.headDim;
  return a.qkv.dtype != DType::f32 && holdsCodes(a.kCache) && regular(a.shape) && (dim == 64 || dim == 128 || dim == 256);
}
template <class F>
cudaError_t withSixteenBit(DType dtype, F f) {
  return dtype == DType::f16 ? f(static_cast<__half*>(nullptr)) : f(static_cast<__nv_bfloat16*>(nullptr));
}

}  // namespace quire
