// The choice of form for a quantised weight, by dtype, K and addresses alone, so that a row has the same bits in a step of any size:
// tensor cores for activations of 16 bits with rows of 16 bytes, gemv in f32 for all others. A step that need not be batch invariant
// takes the form for many rows of q8 where its workspace has room.
#include "quantized_swap_ab.h"

namespace quire {
namespace {

bool suitsSwapAb(const LinearProblem& p) {
  const bool wide = p.k() % 8 == 0 && reinterpret_cast<uintptr_t>(p.x.data) % 16 == 0;
  // Of very long rows the scales have no room.
  return p.x.dtype != DType::f32 && wide && quantized::sharedBytes<quantized::Lowest>(recordOf(p.weight.dtype, p.k())) <= quantized::kSharedBytes;
}

}  // namespace

cudaError_t linearQuantLaunch(const LinearProblem& p, const Step& s) {
  const size_t manyRows = s.batchInvariant ? 0 : linearQuantManyRowsWorkspace(p, s.linearLibrary);
  if (manyRows > 0 && suitsSwapAb(p) && s.workspace.bytes >= manyRows) return linearQuantManyRowsLaunch(p, s);
  return suitsSwapAb(p) ? linearQuantSwapAbLaunch(p, s) : linearQuantGemvLaunch(p, s);
}

cudaError_t linearQuantSwapAbLaunch(const LinearProblem& p, const Step& s) {
  return p.x.dtype == DType::f16 ? quantized::launchF16(p, s) : quantized::launchBf16(p, s);
}

}  // namespace quire
