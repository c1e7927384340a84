#include "nccl.h"

#include <cstdlib>
#include <stdexcept>

#if defined(EMU)
#define X(Result, name, parameters, count) extern "C" Result nccl##name parameters;
namespace nccl {
NCCL_FUNCTIONS(X)
}
#undef X
#endif

namespace quire {
namespace {
using namespace nccl;

Api openApi() {
#if defined(EMU)
  // The emulated machine brings its own.
  if (std::getenv("QUIRE_NCCL") == nullptr) {
    Api api;
#define X(Result, name, parameters, count) api.name = nccl##name;
    NCCL_FUNCTIONS(X)
#undef X
    return api;
  }
#endif
  const Library library = openLibrary();
  const Api api = load(library);
#define X(Result, name, parameters, count) \
  if (api.name == nullptr) throw std::runtime_error(library.path() + " has no nccl" #name);
  NCCL_FUNCTIONS(X)
#undef X
  return api;
}

int typeOf(DType dtype) {
  switch (dtype) {
    case DType::f16: return kFloat16;
    case DType::bf16: return kBfloat16;
    case DType::u32: return kUint32;
    default: break;
  }
  return kFloat32;
}

void check(const Api& api, int status, const char* what) {
  if (status != 0) throw std::runtime_error(std::string(what) + ": " + api.GetErrorString(status));
}

}  // namespace

const Api& ncclApi() {
  static const Api api = openApi();
  return api;
}

UniqueId ncclUniqueId() {
  UniqueId id;
  check(ncclApi(), ncclApi().GetUniqueId(&id), "ncclGetUniqueId");
  return id;
}

NcclCommunicator::NcclCommunicator(const UniqueId& id, int ownRank, int ranks) : Communicator(ownRank, ranks), api_(ncclApi()) {
  check(api_, api_.CommInitRank(&comm_, ranks, id, ownRank), "ncclCommInitRank");
}

NcclCommunicator::~NcclCommunicator() {
  if (!aborted_) api_.CommDestroy(comm_);
}

void NcclCommunicator::abort() {
  if (!aborted_.exchange(true)) api_.CommAbort(comm_);
}

template <class Call>
cudaError_t NcclCommunicator::enqueue(Call call) {
  if (aborted_) return cudaSuccess;
  if (call() == 0 || aborted_) return cudaSuccess;
  const cudaError_t e = cudaGetLastError();
  return e == cudaSuccess ? cudaErrorUnknown : e;
}

cudaError_t NcclCommunicator::allReduce(const void* from, void* to, size_t count, DType dtype, cudaStream_t stream) {
  return enqueue([&] { return api_.AllReduce(from, to, count, typeOf(dtype), kSum, comm_, stream); });
}
cudaError_t NcclCommunicator::allGather(const void* from, void* to, size_t count, DType dtype, cudaStream_t stream) {
  return enqueue([&] { return api_.AllGather(from, to, count, typeOf(dtype), comm_, stream); });
}
cudaError_t NcclCommunicator::broadcast(void* data, size_t count, DType dtype, int from, cudaStream_t stream) {
  return enqueue([&] { return api_.Broadcast(data, data, count, typeOf(dtype), from, comm_, stream); });
}
cudaError_t NcclCommunicator::send(const void* from, size_t count, DType dtype, int to, cudaStream_t stream) {
  return enqueue([&] { return api_.Send(from, count, typeOf(dtype), to, comm_, stream); });
}
cudaError_t NcclCommunicator::recv(void* to, size_t count, DType dtype, int from, cudaStream_t stream) {
  return enqueue([&] { return api_.Recv(to, count, typeOf(dtype), from, comm_, stream); });
}

}  // namespace quire
