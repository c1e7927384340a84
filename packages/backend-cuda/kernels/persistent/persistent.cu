// Operations as phases of a persistent step (step.h): 16-bit activations with weights and cache of their dtype, where a launch of its
// own would take the forms on tensor cores too.
#include <cstring>

#include "step.h"

namespace quire {
namespace {

using namespace persistent;

// Of the weight of a product, on average. A chip reads so much in about four times a barrier's time: of larger ones the end of a
// launch is a small part. Chosen, not measured.
constexpr size_t kMostWeightBytes = size_t{16} << 20;

bool is16Bit(DType t) { return t == DType::f16 || t == DType::bf16; }

template <class A>
PlannedPhase planned(Kind kind, const A& arguments, DType dtype) {
  static_assert(sizeof(A) <= sizeof(Phase::arguments) && std::is_trivially_copyable_v<A>);
  PlannedPhase p{{kind, {}}, dtype, 0, 0, 0};
  memcpy(p.phase.arguments, &arguments, sizeof(A));
  return p;
}

std::optional<PlannedPhase> productPhase(const NormedProblem& p) {
  const LinearProblem& l = p.linear;
  if (!isTaken(p) || !hasTensorCores(l) || product::sharedBytes(p, product::kDeep) > product::kMostShared) return std::nullopt;
  // Both 16-bit dtypes have one layout.
  PlannedPhase phase = planned(kProduct, product::productOf<__half>(p), l.x.dtype);
  phase.sharedBytes = product::sharedBytes(p, product::kDeep);
  phase.weightBytes = sizeof(__half) * l.weight.rows * l.weight.columns;
  return phase;
}

bool isDecoded(const PagedAttention& a) {
  const int dim = a.shape.headDim;
  return fastSixteenBit(a) && (dim == 32 || dim == 64 || dim == 128) && groupOf(a) <= kHeads;
}

}  // namespace

std::optional<PlannedPhase> phaseOf(const Linear& a, const NormedInput& input, const Step&) { return productPhase(problemOf(a, input)); }
std::optional<PlannedPhase> phaseOf(const GatedLinear& a, const NormedInput& input, const Step&) { return productPhase(problemOf(a, input)); }

std::optional<PlannedPhase> phaseOf(const RopeKvWrite& a, const Step&) {
  if (!is16Bit(a.qkv.dtype) || a.kCache.dtype != a.qkv.dtype) return std::nullopt;
  return planned(kRotation, rotaryWrite<__half, __half>(a), a.qkv.dtype);
}

std::optional<PlannedPhase> phaseOf(const KvWrite& a, const Step&) {
  if (!is16Bit(a.qkv.dtype) || a.kCache.dtype != a.qkv.dtype) return std::nullopt;
  return planned(kCacheWrite, cacheWrite<__half, __half>(a), a.qkv.dtype);
}

std::optional<PlannedPhase> phaseOf(const PagedAttention& a, const Step& s) {
  if (!isDecoded(a)) return std::nullopt;
  PlannedPhase phase = planned(kAttention, decodeRows<__half, __half, kHeads>(a, s), a.qkv.dtype);
  phase.headDim = a.shape.headDim;
  phase.sharedBytes = withPersistentHeadDim(a.shape.headDim, [](auto dim) { return size_t{Shape<__half, decltype(dim)::value, kHeads>::kSharedBytes}; });
  return phase;
}

// A block keeps the slots of a row, whatever the number of blocks that have work.
size_t persistentWorkspace(const PagedAttention& a, int smCount) {
  return isDecoded(a) ? workspaceBytes(static_cast<size_t>(smCount) * slotsPerBlock(a) * kHeads * (a.shape.headDim + 2) * sizeof(float)) : 0;
}

bool goTogether(const PlannedPhase& a, const PlannedPhase& b) {
  return a.dtype == b.dtype && (a.headDim == 0 || b.headDim == 0 || a.headDim == b.headDim);
}

bool suitsPersistent(const std::vector<PlannedPhase>& phases) {
  size_t products = 0, bytes = 0;
  for (const PlannedPhase& p : phases) products += p.weightBytes > 0, bytes += p.weightBytes;
  return phases.size() > 1 && products > 0 && bytes <= products * kMostWeightBytes;
}

cudaError_t persistentStep(const PersistentStep& p, const Step& s, bool& taken) {
  return p.dtype == DType::f16 ? launchF16(p, s, taken) : launchBf16(p, s, taken);
}

}  // namespace quire
