// linear with a quantised weight on tensor cores: activations in f16.
#include "quantized_swap_ab.h"

namespace quire::quantized {

cudaError_t launchF16(const LinearProblem& p, const Step& s) { return launchFor<__half>(p, s); }

}  // namespace quire::quantized
