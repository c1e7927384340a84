#pragma once
#include "kernels/kernels.h"

// `count` elements of f32, f16 or bf16.
cudaError_t fillNoise(void* to, quire::DType dtype, int64_t count, uint32_t seed, cudaStream_t stream);
