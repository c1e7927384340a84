#include "tuned-linear.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace quire {
namespace {

// Below, our own forms are near the memory's limit and start before the kernel in front has ended, which the library's do not.
constexpr int kLeastRows = 9;
constexpr int kCandidates = 6, kTrials = 5;
// What a launch of the library costs more in a graph than a trial shows, in microseconds.
constexpr double kLaunchMicroseconds = 0.7;
// Rows whose sums are in the workspace at a time: a multiple of this.
constexpr int kPieceRows = 128;

size_t elementBytes(DType dtype) { return dtype == DType::f32 ? 4 : 2; }
bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 256 == 0; }
size_t outOffset(const LinearProblem& p) { return p.outColumn * elementBytes(p.out.dtype); }
// The library makes the output itself.
bool isDirect(const LinearProblem& p) { return !p.gated && p.activation == Activation::none && (!p.bias || p.bias.dtype == p.out.dtype); }

bool hasDTypes(const LinearProblem& p) {
  const bool is16Bit = p.x.dtype == DType::f16 || p.x.dtype == DType::bf16;
  return is16Bit && p.weight.dtype == p.x.dtype && (p.out.dtype == p.x.dtype || p.out.dtype == DType::f32);
}

Tensor shifted(Tensor t, size_t bytes, int rows) {
  if (t) t.data = t.as<char>() + bytes, t.rows = rows;
  return t;
}
// Rows first .. first + rows of a problem.
LinearProblem pieceOf(const LinearProblem& p, int first, int rows) {
  const size_t out = static_cast<size_t>(first) * p.out.columns * elementBytes(p.out.dtype);
  LinearProblem piece = p;
  piece.x = shifted(p.x, static_cast<size_t>(first) * p.k() * elementBytes(p.x.dtype), rows);
  piece.out = shifted(p.out, out, rows), piece.residual = shifted(p.residual, out, rows);
  return piece;
}

// What the library is to compute: the output, or sums behind its own part of the workspace.
MatrixProduct productOf(const LinearProblem& p, const Step& s) {
  MatrixProduct m{};
  m.x = p.x.data, m.weight = p.weight.data, m.dtype = p.x.dtype, m.outDType = DType::f32;
  m.rows = p.rows(), m.n = p.weight.rows, m.k = p.k();
  m.y = s.workspace.scratch<char>() + CublasLt::kWorkspaceBytes, m.stride = m.n;
  if (!isDirect(p)) return m;
  m.y = p.out.as<char>() + outOffset(p), m.stride = p.out.columns, m.outDType = p.out.dtype;
  m.bias = p.bias.data, m.addend = p.residual ? p.residual.as<char>() + outOffset(p) : nullptr;
  return m;
}

std::string keyOf(const LinearProblem& p) {
  std::string key = p.x.dtype == DType::f16 ? "f16" : "bf16";
  auto add = [&](const char* name, int64_t value) { key += std::string(" ") + name + std::to_string(value); };
  add("n", p.n()), add("k", p.k()), add("out", static_cast<int>(p.out.dtype)), add("stride", p.out.columns), add("gated", p.gated), add("activation", static_cast<int>(p.activation));
  add("bias", static_cast<bool>(p.bias)), add("residual", static_cast<bool>(p.residual)), add("rows", rowsBucket(p.rows()));
  return key;
}

// Memory and events for trials; everything is given back at the end.
class Trial {
 public:
  Trial(const LinearProblem& p, const Step& s) : problem(p), stream_(s.stream), flushBytes_(static_cast<size_t>(s.smCount) << 20) {
    const size_t bytes = static_cast<size_t>(p.rows()) * p.out.columns * elementBytes(p.out.dtype);
    valid_ = cudaMalloc(&out_, bytes) == cudaSuccess && cudaMalloc(&flush_, flushBytes_) == cudaSuccess;
    valid_ = valid_ && cudaEventCreateWithFlags(&start_, 0) == cudaSuccess && cudaEventCreateWithFlags(&stop_, 0) == cudaSuccess && cudaMemsetAsync(out_, 0, bytes, stream_) == cudaSuccess;
    if (!valid_) cudaGetLastError();
    problem.out.data = out_;
    if (p.residual) problem.residual.data = out_;
  }
  ~Trial() {
    for (void* memory : {out_, flush_}) cudaFree(memory);
    for (cudaEvent_t event : {start_, stop_}) if (event != nullptr) cudaEventDestroy(event);
  }
  Trial(const Trial&) = delete;
  bool valid() const { return valid_; }

  // The least time of a launch, in microseconds; infinite when it fails. The first run loads the kernels.
  double microseconds(const std::function<bool()>& launch) {
    double least = INFINITY;
    for (int i = 0; i < kTrials + 1; i++) {
      float milliseconds = 0;
      cudaMemsetAsync(flush_, i, flushBytes_, stream_);
      cudaEventRecord(start_, stream_);
      if (!launch()) return INFINITY;
      cudaEventRecord(stop_, stream_);
      if (cudaEventSynchronize(stop_) != cudaSuccess || cudaEventElapsedTime(&milliseconds, start_, stop_) != cudaSuccess) return INFINITY;
      if (i > 0) least = std::min(least, milliseconds * 1e3);
    }
    return least;
  }

  // The problem over other memory.
  LinearProblem problem;

 private:
  cudaStream_t stream_;
  size_t flushBytes_;
  void *out_ = nullptr, *flush_ = nullptr;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
  bool valid_;
};

std::string machineOf(const CublasLt& library, int ordinal) {
  int driver = 0;
  cudaDeviceProp properties;
  cudaDriverGetVersion(&driver);
  const bool known = cudaGetDeviceProperties(&properties, ordinal) == cudaSuccess;
  return std::string(known ? properties.name : "unknown") + ", driver " + std::to_string(driver) + ", cuBLASLt " + library.version();
}

}  // namespace

int rowsBucket(int rows) {
  int power = 16;
  while (power < rows) power *= 2;
  return power > 16 && rows <= power / 4 * 3 ? power / 4 * 3 : power;
}

// What the second cache holds, as chips go: half a megabyte per multiprocessor.
TunedLinear::TunedLinear(int ordinal, int smCount, std::string choicesFile) : kept_(std::move(choicesFile), machineOf(library_, ordinal)), mostSumBytes_(static_cast<size_t>(smCount) << 19) {}

int TunedLinear::pieceRows(const LinearProblem& p) const {
  const size_t rows = mostSumBytes_ / (static_cast<size_t>(p.weight.rows) * sizeof(float)) / kPieceRows * kPieceRows;
  return static_cast<int>(std::clamp<size_t>(rows, kPieceRows, std::max(p.rows(), kPieceRows)));
}

size_t TunedLinear::workspace(const LinearProblem& p) const {
  if (p.rows() < kLeastRows || !hasDTypes(p)) return 0;
  const size_t sums = isDirect(p) ? 0 : static_cast<size_t>(std::min(p.rows(), pieceRows(p))) * p.weight.rows * sizeof(float);
  return workspaceBytes(CublasLt::kWorkspaceBytes + sums);
}

bool TunedLinear::suits(const LinearProblem& p, const Step& s) const {
  if (p.rows() < kLeastRows || !hasDTypes(p) || !hasWideRows(p) || s.workspace.bytes < workspace(p)) return false;
  const bool wide = p.n() % 8 == 0 && p.out.columns % 8 == 0;
  return wide && aligned(p.x.data) && aligned(p.weight.data) && aligned(p.bias.data) && aligned(p.out.as<char>() + outOffset(p)) && (!p.residual || aligned(p.residual.as<char>() + outOffset(p)));
}

bool TunedLinear::launch(const LinearProblem& p, const Step& s, cudaError_t& error) {
  if (!suits(p, s)) return false;
  const std::string key = keyOf(p);
  auto chosen = chosen_.find(key);
  if (chosen == chosen_.end() && !s.capturing) {
    LinearChoice choice;
    if (!agreement_ || agreement_->isFirst()) choice = choose(p, s, key, error);
    if (agreement_ && error == cudaSuccess) choice = agreement_->ofFirst(choice, error);
    if (error == cudaSuccess) chosen = chosen_.emplace(key, choice).first;
  }
  return error == cudaSuccess && chosen != chosen_.end() && chosen->second.library && run(p, chosen->second.algo, s, error);
}

LinearChoice TunedLinear::choose(const LinearProblem& p, const Step& s, const std::string& key, cudaError_t& error) {
  const LinearChoice* kept = kept_.find(key);
  return kept != nullptr ? *kept : time(p, s, key, error);
}

LinearChoice TunedLinear::time(const LinearProblem& p, const Step& s, const std::string& key, cudaError_t& error) {
  LinearChoice best;
  Trial trial(p, s);
  if (!trial.valid()) return best;
  double least = trial.microseconds([&] { return (error = linearOwnLaunch(trial.problem, s)) == cudaSuccess; });
  if (error != cudaSuccess) return best;
  const LinearProblem first = isDirect(p) ? p : pieceOf(p, 0, std::min(p.rows(), pieceRows(p)));
  for (const cublaslt::Algo& algo : library_.candidates(productOf(first, s), kCandidates)) {
    cudaError_t failed = cudaSuccess;
    const double time = kLaunchMicroseconds + trial.microseconds([&] { return run(trial.problem, algo, s, failed) && failed == cudaSuccess; });
    if (time < least) least = time, best = {true, algo};
  }
  kept_.keep(key, best);
  return best;
}

bool TunedLinear::run(const LinearProblem& p, const cublaslt::Algo& algo, const Step& s, cudaError_t& error) const {
  if (isDirect(p)) return library_.enqueue(productOf(p, s), algo, s.workspace.scratch<void>(), s.stream);
  const int most = pieceRows(p);
  for (int first = 0; first < p.rows() && error == cudaSuccess; first += most) {
    const LinearProblem piece = pieceOf(p, first, std::min(most, p.rows() - first));
    const MatrixProduct product = productOf(piece, s);
    // A piece that the library refuses is no reason to leave the others out.
    if (library_.enqueue(product, algo, s.workspace.scratch<void>(), s.stream)) error = linearEpilogueLaunch(piece, static_cast<const float*>(product.y), s);
    else error = linearOwnLaunch(piece, s);
  }
  return true;
}

}  // namespace quire
