// linear with a quantised weight at many rows, on tensor cores: activations in bf16.
#include "quantized_tiled.h"

namespace quire::quantized {

cudaError_t launchTiledBf16(const LinearProblem& p, const Step& s) { return launchTiled<__nv_bfloat16>(p, s); }

}  // namespace quire::quantized
