#include "cublaslt.h"

#include <stdexcept>

namespace quire {
namespace {
using namespace cublaslt;

int typeOf(DType dtype) { return dtype == DType::f32 ? kR32F : dtype == DType::f16 ? kR16F : kR16BF; }

// The descriptors of one product. cuBLASLt counts by columns: y^T = weight x^T, with the weight transposed.
class Descriptors {
 public:
  Descriptors(const Api& api, const MatrixProduct& p) : api_(api) {
    valid_ = api.MatmulDescCreate(&product, kCompute32F, kR32F) == 0 && set(kDescTransA, kOpT) && set(kDescTransB, kOpN);
    if (p.bias != nullptr) valid_ = valid_ && set(kDescEpilogue, kEpilogueBias) && set(kDescBiasPointer, p.bias);
    valid_ = valid_ && layout(weight, typeOf(p.dtype), p.k, p.n, p.k) && layout(x, typeOf(p.dtype), p.k, p.rows, p.k) && layout(y, typeOf(p.outDType), p.n, p.rows, p.stride);
  }
  ~Descriptors() {
    for (const Layout l : {weight, x, y}) if (l != nullptr) api_.MatrixLayoutDestroy(l);
    if (product != nullptr) api_.MatmulDescDestroy(product);
  }
  Descriptors(const Descriptors&) = delete;
  bool valid() const { return valid_; }

  Desc product = nullptr;
  Layout weight = nullptr, x = nullptr, y = nullptr;

 private:
  template <class Value>
  bool set(int attribute, Value value) { return api_.MatmulDescSetAttribute(product, attribute, &value, sizeof value) == 0; }
  bool layout(Layout& to, int type, int rows, int columns, int64_t ld) { return api_.MatrixLayoutCreate(&to, type, rows, columns, ld) == 0; }
  const Api& api_;
  bool valid_;
};

bool run(const Api& api, Handle handle, const MatrixProduct& p, const Algo& algo, void* workspace, void* stream) {
  const Descriptors d(api, p);
  const float one = 1, beta = p.addend != nullptr ? 1 : 0;
  const void* addend = p.addend != nullptr ? p.addend : p.y;
  return d.valid() && api.Matmul(handle, d.product, &one, p.weight, d.weight, p.x, d.x, &beta, addend, d.y, p.y, d.y, &algo, workspace, CublasLt::kWorkspaceBytes, stream) == 0;
}

}  // namespace

CublasLt::CublasLt() {
  const Library library = openLibrary();
  api_ = load(library);
#define X(Result, name, parameters, count) \
  if (api_.name == nullptr) throw std::runtime_error(library.path() + " has no cublasLt" #name);
  CUBLASLT_FUNCTIONS(X)
#undef X
  if (!isKnownVersion(api_.GetVersion())) throw std::runtime_error(library.path() + " is version " + version() + ", expected 12 or 13");
  if (const int status = api_.Create(&handle_); status != 0) throw std::runtime_error(library.path() + " does not start: status " + std::to_string(status) + ", " + api_.GetStatusString(status));
}

CublasLt::~CublasLt() { api_.Destroy(handle_); }

std::string CublasLt::version() const {
  const size_t v = api_.GetVersion();
  return std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." + std::to_string(v % 100);
}

std::vector<Algo> CublasLt::candidates(const MatrixProduct& p, int most) const {
  const Descriptors d(api_, p);
  Preference preference = nullptr;
  if (!d.valid() || api_.MatmulPreferenceCreate(&preference) != 0) return {};
  const size_t workspace = kWorkspaceBytes;
  std::vector<HeuristicResult> results(most);
  int found = 0;
  bool good = api_.MatmulPreferenceSetAttribute(preference, kPreferenceMaxWorkspace, &workspace, sizeof workspace) == 0;
  // Parts of K are added in f32, not in the output's 16 bits.
  good = good && api_.MatmulPreferenceSetAttribute(preference, kPreferenceReductionSchemes, &kReductionComputeType, sizeof kReductionComputeType) == 0;
  good = good && api_.MatmulAlgoGetHeuristic(handle_, d.product, d.weight, d.x, d.y, d.y, preference, most, results.data(), &found) == 0;
  api_.MatmulPreferenceDestroy(preference);
  std::vector<Algo> algorithms;
  for (int i = 0; good && i < found; i++) {
    if (results[i].state == 0 && results[i].workspaceSize <= workspace) algorithms.push_back(results[i].algo);
  }
  return algorithms;
}

bool CublasLt::enqueue(const MatrixProduct& p, const Algo& algo, void* workspace, cudaStream_t stream) const {
#if defined(EMU)
  // A stand-in library computes at once, over host memory: in the order of the stream, and in a graph, as a kernel of one thread.
  return emu::launch({"cublasLtMatmul", {1}, {1}, 0}, [=] {
           if (!run(api_, handle_, p, algo, workspace, nullptr)) emu::current->block->fail("cublasLtMatmul failed");
         }, stream) == cudaSuccess;
#else
  return run(api_, handle_, p, algo, workspace, stream);
#endif
}

}  // namespace quire
