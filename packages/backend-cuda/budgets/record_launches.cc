// Prints a line of JSON per case: the kernel that nvcc's host code launches, its grid, block and dynamic shared memory. In
// place of the CUDA runtime are the functions below, which note what they are asked for: no GPU and no driver is needed.
//
//   record_launches SMS BYTES full|small   (SMs of the chip, shared memory that a block may have)
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "cases.h"

namespace budgets {

void* allocate(size_t bytes, Traffic) {
  static uintptr_t next = 1 << 20;
  const uintptr_t address = next;
  next += (bytes + 255) / 256 * 256;
  return reinterpret_cast<void*>(address);
}
bool executes() { return false; }

}  // namespace budgets

namespace {

std::map<const void*, const char*> symbols;
std::string launches;
int sharedBytesPerBlock = 0;

}  // namespace

// The names are those of the CUDA runtime.
extern "C" {
void** __cudaRegisterFatBinary(void*) {
  static void* handle;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char* hostFunction, char*, const char* symbol, int, uint3*, uint3*, dim3*, dim3*, int*) { symbols[hostFunction] = symbol; }
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
// Only <<<>>> and its stubs call these; kernels are launched through gpuLaunch().
cudaError_t __cudaGetKernel(cudaKernel_t*, const void*) { std::abort(); }
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, size_t, cudaStream_t) { std::abort(); }
unsigned __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*) { std::abort(); }

cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int bytes) { return bytes <= sharedBytesPerBlock ? cudaSuccess : cudaErrorInvalidValue; }
cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
// What fits is read from the compiled code.
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int, size_t, unsigned) { return *blocks = 1, cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  if (attribute == cudaDevAttrCooperativeLaunch) return *value = 1, cudaSuccess;
  // Both came with compute capability 9.
  if (attribute == cudaDevAttrClusterLaunch) return *value = sharedBytesPerBlock > 163 * 1024, cudaSuccess;
  if (attribute != cudaDevAttrMaxSharedMemoryPerBlockOptin) return cudaErrorInvalidValue;
  *value = sharedBytesPerBlock;
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void*, int, size_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaMemcpyAsync(void*, const void*, size_t, cudaMemcpyKind, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* c, const void* function, void**) {
  char line[1024];
  std::snprintf(line, sizeof line, R"(%s{"symbol":"%s","grid":[%u,%u,%u],"threads":%u,"dynamicShared":%zu})", launches.empty() ? "" : ",", symbols.at(function), c->gridDim.x, c->gridDim.y,
                c->gridDim.z, c->blockDim.x * c->blockDim.y * c->blockDim.z, c->dynamicSmemBytes);
  launches += line;
  return cudaSuccess;
}
}

int main(int count, char** arguments) {
  if (count != 4) return std::fprintf(stderr, "usage: record_launches SMS BYTES full|small\n"), 2;
  const int smCount = std::atoi(arguments[1]);
  sharedBytesPerBlock = std::atoi(arguments[2]);
  const auto scale = std::strcmp(arguments[3], "small") == 0 ? budgets::Scale::small : budgets::Scale::full;
  for (const budgets::Case& c : budgets::makeCases(scale, smCount)) {
    launches.clear();
    const int error = c.launch(scale == budgets::Scale::small ? budgets::kEmulatedSms : smCount);
    std::printf(R"({"kernel":"%s","shape":"%s","bytes":%.0f,"flops":%.0f,"wgmma":%s,"error":%d,"launches":[%s]})" "\n", c.kernel.c_str(), c.shape.c_str(), c.bytes, c.flops, c.wgmma ? "true" : "false", error, launches.c_str());
  }
}
