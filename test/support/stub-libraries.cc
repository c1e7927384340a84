// A stand-in for cuBLASLt and NCCL over host memory, which is the emulator's device memory: enough for the last two stages of the
// probe, and for linear through the library. QUIRE_STUB chooses a fault: wrong (a product that is off), abort (in the first call of NCCL).
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {
bool fault(const char* name) {
  const char* value = std::getenv("QUIRE_STUB");
  return value != nullptr && std::string(value) == name;
}
struct Desc { int transA = 0, transB = 0, epilogue = 1; const void* bias = nullptr; };
struct Layout { int type; uint64_t rows, columns; int64_t ld; };
struct Heuristic { uint64_t algo[8]; size_t workspace; int state; float waves; int reserved[4]; };

// cudaDataType_t: 0 is f32, 2 f16, 14 bf16.
float load(const void* from, size_t i, int type) {
  float f;
  if (type == 0) return static_cast<const float*>(from)[i];
  const uint16_t bits = static_cast<const uint16_t*>(from)[i];
  if (type == 2) {
    _Float16 half;
    std::memcpy(&half, &bits, 2);
    return static_cast<float>(half);
  }
  const uint32_t word = uint32_t{bits} << 16;
  std::memcpy(&f, &word, 4);
  return f;
}
void store(void* to, size_t i, int type, float f) {
  if (type == 0) static_cast<float*>(to)[i] = f;
  else if (type == 2) static_cast<_Float16*>(to)[i] = static_cast<_Float16>(f);
  else {
    uint32_t word;
    std::memcpy(&word, &f, 4);
    static_cast<uint16_t*>(to)[i] = static_cast<uint16_t>((word + 0x7fff + (word >> 16 & 1)) >> 16);
  }
}
}  // namespace

extern "C" {
size_t cublasLtGetVersion() { return 130000; }
const char* cublasLtGetStatusString(int) { return "stub"; }
int cublasLtCreate(void** handle) { return *handle = new int, 0; }
int cublasLtDestroy(void* handle) { return delete static_cast<int*>(handle), 0; }
int cublasLtMatmulDescCreate(void** desc, int compute, int scale) { return *desc = new Desc, compute == 68 && scale == 0 ? 0 : 7; }
int cublasLtMatmulDescDestroy(void* desc) { return delete static_cast<Desc*>(desc), 0; }
int cublasLtMatmulDescSetAttribute(void* desc, int attribute, const void* value, size_t bytes) {
  auto* d = static_cast<Desc*>(desc);
  int* numbers[] = {&d->transA, &d->transB, nullptr, nullptr, &d->epilogue};
  if (attribute == 8 && bytes == sizeof(void*)) return std::memcpy(&d->bias, value, bytes), 0;
  if (attribute < 3 || attribute > 7 || numbers[attribute - 3] == nullptr || bytes != 4) return 7;
  return std::memcpy(numbers[attribute - 3], value, 4), 0;
}
int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t columns, int64_t ld) { return *layout = new Layout{type, rows, columns, ld}, 0; }
int cublasLtMatrixLayoutDestroy(void* layout) { return delete static_cast<Layout*>(layout), 0; }
int cublasLtMatrixLayoutSetAttribute(void*, int, const void*, size_t) { return 0; }
int cublasLtMatmulPreferenceCreate(void** preference) { return *preference = new size_t(0), 0; }
int cublasLtMatmulPreferenceDestroy(void* preference) { return delete static_cast<size_t*>(preference), 0; }
int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute, const void* value, size_t bytes) {
  // Sums of parts in the compute type alone.
  if (attribute == 3) return bytes == 4 && *static_cast<const uint32_t*>(value) == 2 ? 0 : 7;
  if (attribute != 1 || bytes != sizeof(size_t)) return 7;
  std::memcpy(preference, value, bytes);
  return 0;
}
// Three algorithms, the second of which does not fit.
int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void* preference, int requested, void* results, int* found) {
  if (*static_cast<size_t*>(preference) == 0 || requested < 3) return 7;
  for (int i = 0; i < 3; i++) {
    Heuristic h{};
    h.algo[0] = 100 + i;
    h.state = i == 1 ? 15 : 0;
    static_cast<Heuristic*>(results)[i] = h;
  }
  *found = 3;
  return 0;
}
// d = op(a) b + beta c + bias by columns: op(a) is a transposed or not, bias has an element per row.
int cublasLtMatmul(void*, void* desc, const void* alpha, const void* a, void* layoutA, const void* b, void* layoutB, const void* beta, const void* c, void* layoutC, void* d, void* layoutD, const void* algo, void*, size_t, void*) {
  const auto& op = *static_cast<Desc*>(desc);
  const auto &la = *static_cast<Layout*>(layoutA), &lb = *static_cast<Layout*>(layoutB), &lc = *static_cast<Layout*>(layoutC), &ld = *static_cast<Layout*>(layoutD);
  const uint64_t inner = op.transA == 1 ? la.rows : la.columns, outer = op.transA == 1 ? la.columns : la.rows;
  const bool fits = op.transB == 0 && inner == lb.rows && outer == ld.rows && lb.columns == ld.columns && la.type == lb.type && lc.type == ld.type && lc.ld == ld.ld && (op.epilogue == 1 || op.epilogue == 4);
  if (!fits || *static_cast<const uint64_t*>(algo) == 101 || *static_cast<const float*>(alpha) != 1) return 7;
  const float factor = *static_cast<const float*>(beta);
  for (uint64_t column = 0; column < ld.columns; column++) {
    for (uint64_t row = 0; row < ld.rows; row++) {
      float sum = fault("wrong") ? 1 : 0;
      for (uint64_t k = 0; k < inner; k++) sum += load(a, op.transA == 1 ? row * la.ld + k : k * la.ld + row, la.type) * load(b, column * lb.ld + k, lb.type);
      if (factor != 0) sum += factor * load(c, column * lc.ld + row, lc.type);
      if (op.epilogue == 4) sum += load(op.bias, row, ld.type);
      store(d, column * ld.ld + row, ld.type, sum);
    }
  }
  return 0;
}

struct UniqueId { char bytes[128]; };
int ncclGetVersion(int* version) { return *version = 22700, 0; }
const char* ncclGetErrorString(int) { return "stub"; }
int ncclGetUniqueId(UniqueId* id) {
  if (fault("abort")) std::abort();
  return std::memset(id, 7, sizeof *id), 0;
}
int ncclCommInitRank(void** comm, int ranks, UniqueId id, int rank) { return *comm = new int, ranks == 1 && rank == 0 && id.bytes[127] == 7 ? 0 : 4; }
int ncclCommAbort(void* comm) { return delete static_cast<int*>(comm), 0; }
int ncclCommDestroy(void* comm) { return delete static_cast<int*>(comm), 0; }
int ncclCommGetAsyncError(void*, int* error) { return *error = 0; }
int ncclAllReduce(const void* from, void* to, size_t count, int type, int op, void*, void*) {
  if (type != 7 || op != 0) return 4;
  return std::memcpy(to, from, count * 4), 0;
}
int ncclAllGather() { return 4; }
int ncclBroadcast() { return 4; }
int ncclSend() { return 4; }
int ncclRecv() { return 4; }
int ncclGroupStart() { return 0; }
int ncclGroupEnd() { return 0; }
}
