// The choice of element type on the device.
#pragma once
#include "elements.h"

namespace quire {

// Calls f with a null pointer of the element type, on the device.
template <class F>
__device__ __forceinline__ void withElement(DType dtype, F f) {
  if (dtype == DType::f16) f(static_cast<__half*>(nullptr));
  else if (dtype == DType::bf16) f(static_cast<__nv_bfloat16*>(nullptr));
  else f(static_cast<float*>(nullptr));
}

}  // namespace quire
