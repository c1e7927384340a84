// linear with a quantised weight at many rows, on tensor cores: activations in f16.
#include "quantized_tiled.h"

namespace quire::quantized {

cudaError_t launchTiledF16(const LinearProblem& p, const Step& s) { return launchTiled<__half>(p, s); }

}  // namespace quire::quantized
