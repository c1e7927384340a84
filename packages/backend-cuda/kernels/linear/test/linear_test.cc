// Tests of linear's forms on the emulator: each against sums in double, guards around the output, equal bits in any order of
// execution, at any number of rows and on any chip, and the counts of memory traffic.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "kernels/lib/launch_mode.h"
#include "kernels/linear/quantized.h"
#include "kernels/linear/variants.h"

namespace {

using namespace quire;

int passed = 0, failed = 0;
void check(bool ok, const std::string& what) {
  ok ? passed++ : failed++;
  if (!ok) std::printf("FAILED %s\n", what.c_str());
}

using Form = cudaError_t (*)(const LinearProblem&, const Step&);

const char* name(DType t) { return t == DType::f32 ? "f32" : t == DType::f16 ? "f16" : "bf16"; }
size_t bytesOf(DType t) { return t == DType::f32 ? 4 : 2; }
// Half a unit in the last place, relative.
double roundingOf(DType t) { return t == DType::f32 ? 0x1p-24 : t == DType::f16 ? 0x1p-11 : 0x1p-8; }

// Device memory of `count` elements with a guard on both sides.
class Array {
 public:
  Array(DType dtype, size_t count) : dtype_(dtype), count_(count) {
    cudaMalloc(&memory_, bytes());
    std::memset(memory_, 0x5a, bytes());
  }
  ~Array() { cudaFree(memory_); }
  Array(const Array&) = delete;
  char* data() const { return static_cast<char*>(memory_) + kGuard; }
  void set(size_t i, float x) {
    if (dtype_ == DType::f32) reinterpret_cast<float*>(data())[i] = x;
    else if (dtype_ == DType::f16) reinterpret_cast<__half*>(data())[i] = __float2half_rn(x);
    else reinterpret_cast<__nv_bfloat16*>(data())[i] = __float2bfloat16_rn(x);
  }
  float get(size_t i) const {
    if (dtype_ == DType::f32) return reinterpret_cast<const float*>(data())[i];
    return dtype_ == DType::f16 ? __half2float(reinterpret_cast<const __half*>(data())[i]) : __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(data())[i]);
  }
  bool untouched(size_t i) const {
    for (size_t b = 0; b < bytesOf(dtype_); b++) if (data()[i * bytesOf(dtype_) + b] != 0x5a) return false;
    return true;
  }
  bool guardsStand() const {
    for (size_t b = 0; b < kGuard; b++) if (static_cast<char*>(memory_)[b] != 0x5a || static_cast<char*>(memory_)[bytes() - 1 - b] != 0x5a) return false;
    return true;
  }
  std::vector<char> row(size_t r, size_t columns) const { return {data() + r * columns * bytesOf(dtype_), data() + (r + 1) * columns * bytesOf(dtype_)}; }

 private:
  static constexpr size_t kGuard = 256;
  size_t bytes() const { return 2 * kGuard + count_ * bytesOf(dtype_); }
  DType dtype_;
  size_t count_;
  void* memory_ = nullptr;
};

// Counters that begin at 0 and must be 0 after every launch, and room for sums of parts.
Workspace workspace() {
  static std::vector<uint32_t> words(kWorkspaceCounters + kSplitScratch / 4);
  return {words.data(), words.size() * 4};
}
bool countersAreZero() {
  const unsigned* counters = workspace().counters();
  for (size_t i = 0; i < kWorkspaceCounters; i++) if (counters[i] != 0) return false;
  return true;
}

struct Case {
  DType x, weight, out;
  int rows, n, k;
  bool bias = false, residual = false, gated = false;
  Activation activation = Activation::none;
  int outColumn = 0, margin = 0;
  std::string text() const {
    return std::string(name(x)) + " x " + name(weight) + " -> " + name(out) + ", rows " + std::to_string(rows) + ", N " + std::to_string(n) + ", K " + std::to_string(k) + (bias ? ", bias" : "") +
           (residual ? ", residual in place" : "") + (gated ? ", gated" : "") + (outColumn ? ", column " + std::to_string(outColumn) : "");
  }
};

// Inputs depend on the place only, so that a row is the same in every problem of one K.
float input(uint32_t salt, uint64_t row, uint64_t i) {
  uint64_t z = (salt * 0x9e3779b97f4a7c15ull) ^ (row << 32) ^ i;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<float>(static_cast<int64_t>((z ^ (z >> 31)) >> 40) - (1 << 23)) / (1 << 22);
}

class Problem {
 public:
  explicit Problem(const Case& c)
      : case_(c), weightRows_(c.gated ? 2 * c.n : c.n), width_(c.outColumn + c.n + c.margin), x_(c.x, size_t(c.rows) * c.k), weight_(c.weight, size_t(weightRows_) * c.k), bias_(c.weight, weightRows_), out_(c.out, size_t(c.rows) * width_) {
    for (int r = 0; r < c.rows; r++) for (int i = 0; i < c.k; i++) x_.set(size_t(r) * c.k + i, input(1, r, i));
    for (int r = 0; r < weightRows_; r++) {
      bias_.set(r, input(3, r, 0));
      for (int i = 0; i < c.k; i++) weight_.set(size_t(r) * c.k + i, input(2, r, i));
    }
    clear();
  }
  void clear() {
    for (int r = 0; r < case_.rows; r++) {
      for (int i = 0; i < width_; i++) {
        if (case_.residual) out_.set(size_t(r) * width_ + i, input(4, r, i));
        else std::memset(out_.data() + (size_t(r) * width_ + i) * bytesOf(case_.out), 0x5a, bytesOf(case_.out));
      }
    }
  }
  LinearProblem device() {
    auto tensor = [](const Array& a, DType t, int rows, int64_t columns) { return Tensor{a.data(), t, rows, columns}; };
    LinearProblem p;
    p.x = tensor(x_, case_.x, case_.rows, case_.k);
    p.weight = tensor(weight_, case_.weight, weightRows_, case_.k);
    p.out = tensor(out_, case_.out, case_.rows, width_);
    if (case_.bias) p.bias = tensor(bias_, case_.weight, weightRows_, 1);
    if (case_.residual) p.residual = p.out;
    p.activation = case_.activation, p.outColumn = case_.outColumn, p.gated = case_.gated;
    return p;
  }
  bool run(Form form, Step step) {
    clear();
    step.stream = nullptr;
    return form(device(), step) == cudaSuccess && cudaDeviceSynchronize() == cudaSuccess && countersAreZero();
  }
  std::vector<char> row(int r) const { return out_.row(r, width_); }
  // The largest error over its bound; infinite where something was written that must not be.
  double worst() const {
    double worst = out_.guardsStand() ? 0 : INFINITY;
    for (int r = 0; r < case_.rows; r++) {
      for (int i = 0; i < width_; i++) {
        const size_t at = size_t(r) * width_ + i;
        const int column = i - case_.outColumn;
        const float before = case_.residual ? residualAt(r, i) : 0;
        if (column < 0 || column >= case_.n) {
          if (case_.residual ? out_.get(at) != before : !out_.untouched(at)) worst = INFINITY;
          continue;
        }
        double bound = 0, bound2 = 0;
        const double first = dot(r, column, bound), up = case_.gated ? dot(r, case_.n + column, bound2) : 1;
        const double y = activated(first) * up + before;
        const double allowed = 1.2 * bound * std::fabs(up) + bound2 * std::fabs(activated(first)) + 0x1p-20 * (std::fabs(y) + std::fabs(double(before)) + 1) + roundingOf(case_.out) * std::fabs(y);
        const double ratio = std::fabs(out_.get(at) - y) / allowed;
        if (!(ratio <= worst)) worst = std::isnan(ratio) ? INFINITY : ratio;
      }
    }
    return worst;
  }

 private:
  float residualAt(int r, int i) const {
    Array one(case_.out, 1);
    one.set(0, input(4, r, i));
    return one.get(0);
  }
  double dot(int r, int w, double& bound) const {
    double sum = case_.bias ? bias_.get(w) : 0, magnitude = std::fabs(sum);
    for (int i = 0; i < case_.k; i++) {
      const double product = double(x_.get(size_t(r) * case_.k + i)) * weight_.get(size_t(w) * case_.k + i);
      sum += product, magnitude += std::fabs(product);
    }
    bound = 8 * 0x1p-24 * magnitude;
    return sum;
  }
  double activated(double x) const {
    switch (case_.activation) {
      case Activation::relu: return x > 0 ? x : 0;
      case Activation::silu: return x / (1 + std::exp(-x));
      case Activation::gelu: return 0.5 * x * (1 + std::erf(x * std::sqrt(0.5)));
      case Activation::geluTanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      default: return x;
    }
  }
  Case case_;
  int weightRows_, width_;
  Array x_, weight_, bias_, out_;
};

Step stepOf(int smCount) {
  Step s{};
  s.smCount = smCount, s.workspace = workspace();
  return s;
}

void correct(const char* form, Form launch, const Case& c, int smCount) {
  Problem p(c);
  const bool ran = p.run(launch, stepOf(smCount));
  const double worst = ran ? p.worst() : INFINITY;
  check(worst <= 1, std::string(form) + ": " + c.text() + ": error / bound " + std::to_string(worst));
}

constexpr DType dtypes[] = {DType::f32, DType::f16, DType::bf16};

void correctness() {
  constexpr Activation silu = Activation::silu, gelu = Activation::gelu, tanh = Activation::geluTanh, relu = Activation::relu;
  // Forms for any dtypes.
  for (DType x : dtypes) {
    for (DType w : dtypes) {
      for (DType out : {DType::f32, x}) {
        for (int rows : {1, 2, 3, 4, 7, 11}) {
          correct("gemv", linearGemvLaunch, {x, w, out, rows, 37, 264, rows % 2 == 1, rows == 2 || rows == 7, false, rows == 3 ? silu : rows == 4 ? gelu : Activation::none, rows % 3, rows % 2}, 4);
        }
        correct("gemv", linearGemvLaunch, {x, w, out, 3, 12, 72, true, false, true, silu}, 4);
        correct("streaming", linearStreamingLaunch, {x, w, out, 1, 9, 7, true, false, false, relu}, 4);
        correct("streaming", linearStreamingLaunch, {x, w, out, 6, 21, 67, true, true, false, tanh, 3, 2}, 4);
        correct("streaming", linearStreamingLaunch, {x, w, out, 6, 21, 67, true, false, true, silu}, 4);
        correct("streaming", linearStreamingLaunch, {x, w, out, 1, 8, 33, false, false, true, tanh}, 4);
      }
    }
  }
  correct("gemv", linearGemvLaunch, {DType::f32, DType::bf16, DType::f32, 1, 40, 20480}, 4);
  correct("gemv", linearGemvLaunch, {DType::bf16, DType::bf16, DType::f32, 3, 8, 9000}, 4);
  correct("gemv", linearGemvLaunch, {DType::f32, DType::f32, DType::f32, 8, 5, 8196}, 4);
  correct("gemv", linearGemvLaunch, {DType::f32, DType::f16, DType::f32, 1, 16500, 8}, 4);
  // Tensor-core forms. Chips of 1 and 132 SMs take different tiles.
  for (DType t : {DType::f16, DType::bf16}) {
    for (int smCount : {1, 132}) {
      for (int rows : {1, 7, 8, 9, 16, 17, 31, 33, 64}) correct("swapAb", linearSwapAbLaunch, {t, t, rows % 2 ? t : DType::f32, rows, 77, 200, true, rows % 3 == 1, false, rows % 2 ? silu : relu, rows % 8, rows % 4}, smCount);
      for (int rows : {1, 9, 16, 17, 31, 33, 64, 65, 130, 260}) {
        correct("split", linearSplitLaunch, {t, t, rows % 2 ? t : DType::f32, rows, 77, 1288, true, rows % 3 == 1, false, rows % 2 ? silu : relu, rows % 8, rows % 4}, smCount);
        correct("split", linearSplitLaunch, {t, t, t, rows, 52, 1032, rows == 9, false, true, silu}, smCount);
      }
      for (int rows : {5, 20, 40}) correct("swapAb", linearSwapAbLaunch, {t, t, t, rows, 52, 136, rows == 5, false, true, silu}, smCount);
      for (int rows : {1, 65, 130}) correct("tiled", linearTiledLaunch, {t, t, rows == 65 ? t : DType::f32, rows, 141, 104, true, rows != 1, false, rows == 65 ? gelu : Activation::none, rows % 8, rows % 4}, smCount);
      correct("tiled", linearTiledLaunch, {t, t, t, 67, 70, 72, true, false, true, silu}, smCount);
    }
    for (int k : {8, 16, 40, 64, 72, 520, 1032}) {
      correct("swapAb", linearSwapAbLaunch, {t, t, t, 3, 20, k}, 4);
      correct("split", linearSplitLaunch, {t, t, t, 35, 20, k}, 4);
      correct("swapAb", linearSwapAbLaunch, {t, t, DType::f32, 35, 20, k}, 1);
      correct("tiled", linearTiledLaunch, {t, t, t, 66, 20, k, false, true, false, Activation::none, 4, 4}, 4);
    }
  }
}

// Every row has the bits of `reference` in problems of other numbers of rows.
void invariance() {
  struct Family { const char* name; Case c; };
  const Family families[] = {
      {"f16", {DType::f16, DType::f16, DType::f16, 0, 70, 1160, true}},
      {"bf16 to f32", {DType::bf16, DType::bf16, DType::f32, 0, 70, 320}},
      {"bf16 gated", {DType::bf16, DType::bf16, DType::bf16, 0, 40, 584, false, false, true, Activation::silu}},
      {"f32", {DType::f32, DType::bf16, DType::f32, 0, 45, 1096, true}},
      {"odd K", {DType::bf16, DType::bf16, DType::bf16, 0, 30, 131, true}},
  };
  for (const auto& [name, base] : families) {
    Case all = base;
    all.rows = 150;
    Problem reference(all);
    check(reference.run(linearLaunch, stepOf(1)), std::string(name) + " runs");
    for (int smCount : {1, 3, 132}) {
      for (int rows : {1, 2, 3, 5, 8, 12, 30, 60, 64, 65, 150}) {
        Case c = base;
        c.rows = rows;
        Problem p(c);
        bool equal = p.run(linearLaunch, stepOf(smCount));
        for (int r = 0; r < rows; r++) equal &= p.row(r) == reference.row(r);
        check(equal, std::string(name) + ": rows keep their bits among " + std::to_string(rows) + " on " + std::to_string(smCount) + " SMs");
      }
    }
  }
}

// Order of lanes, warps and blocks, and the number resident.
void orders() {
  const std::pair<const char*, Form> forms[] = {{"swapAb", linearSwapAbLaunch}, {"tiled", linearTiledLaunch}, {"split", linearSplitLaunch}, {"gemv", linearGemvLaunch}, {"streaming", linearStreamingLaunch}};
  for (const auto& [name, form] : forms) {
    for (bool gated : {false, true}) {
      Problem p({DType::bf16, DType::bf16, DType::bf16, 20, 90, 1096, true, false, gated, Activation::silu});
      std::vector<std::vector<char>> first;
      for (int seed = 0; seed < 5; seed++) {
        emu::chip().order = seed < 2 ? static_cast<emu::Order>(seed) : emu::Order::shuffled;
        emu::chip().seed = seed;
        emu::chip().smCount = seed == 3 ? 1 : 132;
        bool equal = p.run(form, stepOf(emu::chip().smCount));
        for (int r = 0; r < 20; r++) {
          if (seed == 0) first.push_back(p.row(r));
          else equal &= first[r] == p.row(r);
        }
        check(equal, std::string(name) + (gated ? ", gated," : "") + " has equal bits in order " + std::to_string(seed));
      }
    }
  }
  emu::chip() = {};
}

// Two products behind each other as dependent launches: the second starts before the first has ended, and must wait for it.
void dependents() {
  for (DType t : {DType::f32, DType::bf16}) {
    const std::pair<const char*, Form> forms[] = {{"gemv", linearGemvLaunch}, {"streaming", linearStreamingLaunch}, {"swapAb", linearSwapAbLaunch}, {"tiled", linearTiledLaunch}, {"split", linearSplitLaunch}};
    for (const auto& [name, form] : forms) {
      if (t == DType::f32 && form != linearGemvLaunch && form != linearStreamingLaunch) continue;
      Problem first({t, t, t, 20, 64, 64}), second({t, t, t, 20, 40, 64}), apart({t, t, t, 20, 40, 64});
      auto chained = second.device(), after = apart.device();
      chained.x = after.x = first.device().out;
      dependentLaunches = true;
      first.clear(), second.clear(), apart.clear();
      bool ran = form(first.device(), stepOf(4)) == cudaSuccess && form(chained, stepOf(4)) == cudaSuccess && cudaDeviceSynchronize() == cudaSuccess;
      dependentLaunches = false;
      ran &= form(after, stepOf(4)) == cudaSuccess && cudaDeviceSynchronize() == cudaSuccess;
      for (int r = 0; r < 20; r++) ran &= second.row(r) == apart.row(r);
      check(ran, std::string(name) + " waits for the kernel in front, " + ::name(t));
    }
  }
}

// It computes nothing itself.
class NoLibrary : public LinearLibrary {
 public:
  size_t workspace(const LinearProblem&) const override { return 0; }
  bool launch(const LinearProblem&, const Step&, cudaError_t&) override { return false; }
};

// More rows than a grid may have blocks in y, of a q8 weight that is narrow enough for one piece of them: code 1, scale 1.
void manyRows() {
  constexpr int rows = 66000, n = 8, k = 32;
  NoLibrary library;
  Array x(DType::f16, size_t{rows} * k), weight(DType::f32, n * 16), out(DType::f16, size_t{rows} * n);
  for (size_t i = 0; i < size_t{rows} * k; i++) x.set(i, i % k == i / k % k ? 2 : 0);
  std::memset(weight.data(), 0, n * 64);
  for (int row = 0; row < n; row++) {
    std::memset(weight.data() + row * 64, 1, k);
    const float scale = static_cast<float>(row);
    std::memcpy(weight.data() + row * 64 + k, &scale, sizeof scale);
  }
  const LinearProblem p{{x.data(), DType::f16, rows, k}, {weight.data(), DType::q8, n, k}, {out.data(), DType::f16, rows, n}, {}, {}};
  Step step = stepOf(4);
  step.batchInvariant = false, step.linearLibrary = &library;
  step.workspace.bytes = linearQuantLibraryWorkspace(p, library);
  Array memory(DType::f32, step.workspace.bytes / 4 + 64);
  step.workspace.data = memory.data();
  std::memset(step.workspace.data, 0, workspaceBytes(0));
  bool right = step.workspace.bytes > 0 && linearQuantLibraryLaunch(p, step) == cudaSuccess && cudaDeviceSynchronize() == cudaSuccess;
  for (size_t i = 0; right && i < size_t{rows} * n; i++) right = out.get(i) == 2.0f * (i % n);
  check(right && out.guardsStand(), "a q8 weight through the library at more rows than y may have blocks");
}

// Memory traffic: full sectors of the weight once, no bank conflicts.
void counters() {
  struct Expected { const char* kernel; Form form; int rows; };
  for (const auto& [kernel, form, rows] : {Expected{"linearGemv", linearGemvLaunch, 1}, {"linearSwapAb", linearSwapAbLaunch, 8}, {"linearSwapAb", linearSwapAbLaunch, 16}, {"linearSwapAb", linearSwapAbLaunch, 32},
                                           {"linearSwapAb", linearSwapAbLaunch, 64}, {"linearTiled", linearTiledLaunch, 128}, {"linearSplit", linearSplitLaunch, 16}, {"linearSplit", linearSplitLaunch, 32}, {"linearSplit", linearSplitLaunch, 64}, {"linearSplit", linearSplitLaunch, 128}, {"linearSplit", linearSplitLaunch, 512}}) {
    for (int smCount : {1, 132}) {
      Problem p({DType::bf16, DType::bf16, DType::bf16, rows, 128, 2048});
      auto& c = emu::kernelCounters()[kernel];
      c = {};
      p.run(form, stepOf(smCount));
      const double sectors = double(c.loadSectors) / c.loadRequests, stored = double(c.storeBytes) / (32 * c.storeSectors);
      std::printf("%-12s rows %3d, %3d SMs: blocks %4llu, bytes read %8llu (weight %d), sectors per request %.2f of 16, bytes of a stored sector %.0f, shared requests %llu, bank conflicts %llu, barriers %llu\n",
                  kernel, rows, smCount, (unsigned long long)c.blocks, (unsigned long long)c.loadBytes, 128 * 2048 * 2, sectors, 32 * stored, (unsigned long long)c.sharedRequests, (unsigned long long)c.bankConflicts, (unsigned long long)c.barriers);
      check(c.bankConflicts == 0, std::string(kernel) + " has no bank conflicts");
      check(c.loadSectors * 32 == c.loadBytes, std::string(kernel) + " reads whole sectors");
      check(c.loadRequests * 512 == c.loadBytes, std::string(kernel) + " reads 512 bytes per request");
    }
  }
}

// A chip with less shared memory and no clusters, which are asked for once.
void shallowRings() {
  emu::chip().sharedBytes = 163 * 1024;
  for (DType t : {DType::f16, DType::bf16}) {
    for (int rows : {17, 33, 64, 130, 260}) correct("split", linearSplitLaunch, {t, t, t, rows, 77, 1288, true}, 132);
    for (int rows : {20, 50}) correct("split", linearSplitLaunch, {t, t, t, rows, 52, 1032, false, false, true, Activation::silu}, 132);
    // Tiles enough that K is in one part.
    for (int rows : {32, 60}) correct("split", linearSplitLaunch, {t, t, DType::f32, rows, 3520, 72}, 132);
    correct("swapAb", linearSwapAbLaunch, {t, t, t, 40, 77, 1288, true}, 132);
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1 && std::strcmp(arguments[1], "--shallow-rings") == 0) {
    shallowRings();
  } else {
    correctness();
    invariance();
    orders();
    dependents();
    manyRows();
    counters();
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
