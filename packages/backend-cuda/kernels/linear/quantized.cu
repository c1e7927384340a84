// The choice of form for a quantised weight. The family depends on dtype, K and addresses alone, so that a row has the same bits in a
// step of any size: tensor cores for activations of 16 bits with rows of 16 bytes, gemv in f32 for all others. On tensor cores
// swapAb and tiled are bit-equal. A step that need not be batch invariant takes the form of q8 that goes through the library where
// it pays and its workspace has room.
#include "quantized_swap_ab.h"
#include "quantized_tiled.h"

namespace quire {
namespace {

bool suitsTensorCores(const LinearProblem& p) {
  const bool wide = p.k() % 8 == 0 && reinterpret_cast<uintptr_t>(p.x.data) % 16 == 0;
  // Of very long rows the scales have no room.
  return p.x.dtype != DType::f32 && wide && quantized::sharedBytes<quantized::Lowest>(recordOf(p.weight.dtype, p.k())) <= quantized::kSharedBytes;
}

}  // namespace

cudaError_t linearQuantLaunch(const LinearProblem& p, const Step& s) {
  const size_t library = s.linearLibrary == nullptr ? 0 : linearQuantLibraryWorkspace(p, *s.linearLibrary);
  if (library > 0 && suitsTensorCores(p) && s.workspace.bytes >= library) return linearQuantLibraryLaunch(p, s);
  if (!suitsTensorCores(p)) return linearQuantGemvLaunch(p, s);
  return p.rows() > kSwapAbRows && quantized::fillsTiles(p, s) ? linearQuantTiledLaunch(p, s) : linearQuantSwapAbLaunch(p, s);
}

cudaError_t linearQuantSwapAbLaunch(const LinearProblem& p, const Step& s) {
  return p.x.dtype == DType::f16 ? quantized::launchF16(p, s) : quantized::launchBf16(p, s);
}

cudaError_t linearQuantTiledLaunch(const LinearProblem& p, const Step& s) {
  return p.x.dtype == DType::f16 ? quantized::launchTiledF16(p, s) : quantized::launchTiledBf16(p, s);
}

}  // namespace quire
