// Stage 6: cuBLASLt through dlopen: where it is, whether our declarations are its own, and one bf16 product, checked and timed
// over the algorithms that its heuristic names.
#include "libraries/cublaslt-api.h"

#include <cmath>
#include <cstring>

#include "declarations.h"
#include "stages.h"
#include "timing.h"

namespace {
using namespace cublaslt;

float fromBfloat16(uint16_t bits) {
  const uint32_t word = uint32_t{bits} << 16;
  float f;
  std::memcpy(&f, &word, 4);
  return f;
}

// y (m x n) = x (m x k) w^T, w (n x k), all row-major bf16. cuBLASLt counts by columns: y^T = w x^T.
class Product {
 public:
  Product(const Probe& probe, const Api& api, int size);
  ~Product();
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  std::vector<HeuristicResult> candidates(int most);
  void enqueue(const HeuristicResult& candidate);
  // The worst error of sampled outputs, as a share of the sum of absolute products.
  double worstError();
  double flops() const { return 2.0 * size_ * size_ * size_; }

 private:
  void tryCall(int status, const char* what) const {
    if (status != 0) throw std::runtime_error(format("%s: status %d, %s", what, status, api_.GetStatusString(status)));
  }
  static std::vector<uint16_t> randomMatrix(int size, uint64_t seed);

  const Probe& probe_;
  const Api& api_;
  const int size_;
  const std::vector<uint16_t> hostX_, hostW_;
  const DeviceArray<uint16_t> x_, w_, y_;
  const DeviceArray<unsigned char> workspace_;
  Handle handle_ = nullptr;
  Desc desc_ = nullptr;
  Layout layoutW_ = nullptr, layoutX_ = nullptr, layoutY_ = nullptr;
};

std::vector<uint16_t> Product::randomMatrix(int size, uint64_t seed) {
  Random random{seed};
  std::vector<uint16_t> values(static_cast<size_t>(size) * size);
  // Between 0.125 and 2, either sign.
  for (auto& v : values) v = static_cast<uint16_t>(random.below(2) << 15 | (0x3e00 + random.below(0x200)));
  return values;
}

Product::Product(const Probe& probe, const Api& api, int size)
    : probe_(probe), api_(api), size_(size), hostX_(randomMatrix(size, 1)), hostW_(randomMatrix(size, 2)), x_(hostX_), w_(hostW_), y_(hostX_.size()), workspace_(size_t{32} << 20) {
  tryCall(api.Create(&handle_), "cublasLtCreate");
  tryCall(api.MatmulDescCreate(&desc_, kCompute32F, kR32F), "cublasLtMatmulDescCreate");
  const int transpose = kOpT, plain = kOpN;
  tryCall(api.MatmulDescSetAttribute(desc_, kDescTransA, &transpose, sizeof transpose), "transpose of the first operand");
  tryCall(api.MatmulDescSetAttribute(desc_, kDescTransB, &plain, sizeof plain), "transpose of the second operand");
  for (Layout* layout : {&layoutW_, &layoutX_, &layoutY_}) tryCall(api.MatrixLayoutCreate(layout, kR16BF, size, size, size), "cublasLtMatrixLayoutCreate");
}

Product::~Product() {
  for (Layout layout : {layoutW_, layoutX_, layoutY_}) if (layout != nullptr) api_.MatrixLayoutDestroy(layout);
  if (desc_ != nullptr) api_.MatmulDescDestroy(desc_);
  if (handle_ != nullptr) api_.Destroy(handle_);
}

std::vector<HeuristicResult> Product::candidates(int most) {
  Preference preference = nullptr;
  tryCall(api_.MatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  const size_t workspace = workspace_.count;
  tryCall(api_.MatmulPreferenceSetAttribute(preference, kPreferenceMaxWorkspace, &workspace, sizeof workspace), "workspace limit");
  std::vector<HeuristicResult> results(most);
  int found = 0;
  tryCall(api_.MatmulAlgoGetHeuristic(handle_, desc_, layoutW_, layoutX_, layoutY_, layoutY_, preference, most, results.data(), &found), "cublasLtMatmulAlgoGetHeuristic");
  tryCall(api_.MatmulPreferenceDestroy(preference), "cublasLtMatmulPreferenceDestroy");
  if (found < 1) throw std::runtime_error("the heuristic names no algorithm");
  results.resize(found);
  return results;
}

void Product::enqueue(const HeuristicResult& candidate) {
  const float one = 1, zero = 0;
  tryCall(api_.Matmul(handle_, desc_, &one, w_.data, layoutW_, x_.data, layoutX_, &zero, y_.data, layoutY_, y_.data, layoutY_, &candidate.algo, workspace_.data, workspace_.count, probe_.stream), "cublasLtMatmul");
}

double Product::worstError() {
  const std::vector<uint16_t> y = y_.read(probe_.stream);
  Random random{5};
  double worst = 0;
  for (int sample = 0; sample < 256; sample++) {
    const size_t row = random.below(size_), column = random.below(size_);
    double sum = 0, magnitude = 0;
    for (int k = 0; k < size_; k++) {
      const double product = static_cast<double>(fromBfloat16(hostX_[row * size_ + k])) * fromBfloat16(hostW_[column * size_ + k]);
      sum += product;
      magnitude += std::fabs(product);
    }
    // Rounding y to bf16 is allowed for here, so that only the sum is judged.
    const double error = std::fabs(fromBfloat16(y[row * size_ + column]) - sum) - std::fabs(sum) / 256;
    if (!(error <= worst * magnitude)) worst = error / magnitude;
  }
  return worst;
}

void compareDeclarations(const Probe& probe, const quire::Library& library) {
  const auto headers = compareHeaders(probe, library, {"cublasLt.h", "cublas_api.h", "library_types.h"}, kConstants, kFunctionParameters);
  if (headers.empty()) return;
  const auto algo = headers[0].structMembers("cublasLtMatmulAlgo_t"), result = headers[0].structMembers("cublasLtMatmulHeuristicResult_t");
  const bool same = algo == "uint64_t data[8];" && result == "cublasLtMatmulAlgo_t algo; size_t workspaceSize; cublasStatus_t state; float wavesCount; int reserved[4];";
  probe.line("structs").put("same", same).put("cublasLtMatmulAlgo_t", algo.value_or("")).put("cublasLtMatmulHeuristicResult_t", result.value_or("")).emit();
}
}  // namespace

void cublasLtStage(const Probe& probe) {
  const auto start = Probe::Clock::now();
  const quire::Library library = openLibrary();
  const std::string missing = missingSymbols(library, kFunctionParameters);
  const Api api = load(library);
  const size_t version = api.GetVersion == nullptr ? 0 : api.GetVersion();
  probe.line("library").put("path", library.path()).put("openMilliseconds", microsecondsSince(start) / 1e3).put("version", version).put("missing", missing).emit();
  compareDeclarations(probe, library);
  if (!missing.empty()) throw std::runtime_error("cuBLASLt lacks " + missing);
  if (!isKnownVersion(version)) throw std::runtime_error(format("cuBLASLt %zu is neither 12 nor 13", version));

  const int size = Probe::pick(4096, 48);
  Product product(probe, api, size);
  double best = 0;
  int rank = 0, bestRank = 0;
  for (const HeuristicResult& candidate : product.candidates(16)) {
    if (candidate.state == 0 && probe.timeLeft()) {
      const int inRow = Probe::pick(5, 1);
      const double microseconds = medianMicroseconds(probe, Probe::pick(9, 1), [&] {
        for (int i = 0; i < inRow; i++) product.enqueue(candidate);
      }) / inRow;
      const double error = product.worstError(), teraflops = product.flops() / microseconds / 1e6;
      probe.line("bf16 product").put("size", size).put("rank", rank).put("workspaceBytes", candidate.workspaceSize).put("microseconds", microseconds).put("teraflops", teraflops).put("worstError", error).emit();
      // Partial sums kept in bf16 stay below this; a wrong element is some hundredths off.
      if (!(error <= 1e-3)) throw std::runtime_error(format("algorithm %d: the product is wrong by %g of the absolute sum", rank, error));
      if (teraflops > best) best = teraflops, bestRank = rank;
    }
    rank++;
  }
  probe.headline(format("cuBLASLt %zu, bf16 %d^3: %.0f TFLOP/s with the heuristic's choice %d of %d", version, size, best, bestRank + 1, rank));
}
