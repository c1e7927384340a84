// linear of few rows with norms in front, in one launch: on tensor cores the kernel below, one block for each multiprocessor; other
// dtypes go to gemv.
#include "normed_product.h"

namespace quire {
namespace {

using namespace product;

template <class T, int kStages>
__global__ void __launch_bounds__(kThreads, 1) linearNormed(Product<T> p) {
  DYN_SHARED(char, shared);
  SHARED(float, rowSums, kNormedRows * kSumsOfRow);
  SHARED(NormStats, stats, kNormedRows);
  const ProductPart<T, kStages, false> part(p, shared);
  part.fill();
  launchDependents();
  waitForPrevious();
  part.run(rowSums, stats, [] {});
}

template <class T, int kStages>
cudaError_t launchWith(const NormedProblem& problem, const Step& s) {
  const Product<T> p = productOf<T>(problem);
  const unsigned blocks = static_cast<unsigned>(p.tiles < s.smCount ? p.tiles : s.smCount);
  const GpuLaunch l{p.out.gated ? "gatedLinearNormed" : "linearNormed", {blocks}, {kThreads}, sharedBytes(problem, kStages), s.stream};
  return gpuLaunch(l, linearNormed<T, kStages>, p);
}

// The deeper ring where it leaves room for x.
template <class T>
cudaError_t launchFor(const NormedProblem& p, const Step& s) {
  return sharedBytes(p, kDeep) <= kMostShared ? launchWith<T, kDeep>(p, s) : launchWith<T, kShallow>(p, s);
}

bool isFloat(DType t) { return t == DType::f32 || t == DType::f16 || t == DType::bf16; }
bool hasNormPacks(const NormedProblem& p) {
  const NormedInput& in = p.input;
  const std::initializer_list<const void*> pointers = {p.linear.x.data, in.norm.weight.data, in.norm.bias.data, in.residual.data, in.sum.data, in.second.weight.data};
  return p.linear.x.dtype == DType::f32 ? hasRowPacks<float>(p.linear.k(), pointers) : hasRowPacks<__half>(p.linear.k(), pointers);
}

cudaError_t launch(const NormedProblem& p, const Step& s) {
  if (!hasTensorCores(p.linear)) return linearGemvLaunch(p.linear, rowNorm(p.input.norm), s);
  return p.linear.weight.dtype == DType::f16 ? launchFor<__half>(p, s) : launchFor<__nv_bfloat16>(p, s);
}

}  // namespace

bool isTaken(const NormedProblem& problem) {
  const LinearProblem& p = problem.linear;
  const NormedInput& in = problem.input;
  if (p.rows() == 0 || p.rows() > kNormedRows || p.n() == 0) return false;
  if (!isFloat(p.x.dtype) || !isFloat(p.weight.dtype) || !isFloat(in.norm.weight.dtype) || !isFloat(in.second.weight.dtype)) return false;
  if (!hasWideRows(p) || !hasNormPacks(problem)) return false;
  if (!hasTensorCores(p)) return !in.residual && !in.sum && !in.second.weight;
  return !in.second.centred && sharedBytes(problem, kShallow) <= kMostShared;
}

bool takesNormed(const Linear& a, const NormedInput& input) { return isTaken(problemOf(a, input)); }
bool takesNormed(const GatedLinear& a, const NormedInput& input) { return isTaken(problemOf(a, input)); }

cudaError_t normedLinear(const Linear& a, const NormedInput& input, const Step& s) { return launch(problemOf(a, input), s); }
cudaError_t normedLinear(const GatedLinear& a, const NormedInput& input, const Step& s) { return launch(problemOf(a, input), s); }

}  // namespace quire
