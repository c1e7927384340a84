// linear with a quantised weight on tensor cores: activations in bf16.
#include "quantized_swap_ab.h"

namespace quire::quantized {

cudaError_t launchBf16(const LinearProblem& p, const Step& s) { return launchFor<__nv_bfloat16>(p, s); }

}  // namespace quire::quantized
