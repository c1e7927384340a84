// Launch functions of the operations of low-rank adapters; see kernels.h.
#pragma once
#include "step.h"

namespace quire {

constexpr int MAX_LORA_SLICES = 4;

// The column behind the last of each slice.
struct LoraSlices { int count; int end[MAX_LORA_SLICES]; };

struct PrepareAdapters { Tensor sequences, rows, adapters; };
struct LoraLinear { Tensor x, adapters, a, b, scales, hidden, out; LoraSlices slices; };

cudaError_t prepareAdapters(const PrepareAdapters&, const Step&);
cudaError_t loraLinear(const LoraLinear&, const Step&);
// Its two launches: hidden from x, and out from hidden.
cudaError_t loraShrink(const LoraLinear&, const Step&);
cudaError_t loraExpand(const LoraLinear&, const Step&);

}  // namespace quire
