#include "bench.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "fill.h"
#include "kernels/lib/launch_mode.h"

namespace {

constexpr double kColdBytes = 512e6;
constexpr int kReplays = 7, kMostReplicas = 64, kFewestReplicas = 4;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

size_t elementBytes(quire::DType dtype) { return dtype == quire::DType::f32 || dtype == quire::DType::u32 ? 4 : 2; }

}  // namespace

void cudaTry(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("{\"error\":\"%s: %s\"}\n", what, cudaGetErrorString(error));
  std::exit(1);
}

Arena::~Arena() {
  cudaStreamSynchronize(stream_);
  for (void* memory : memory_) cudaFree(memory);
}

void* Arena::allocate(size_t bytes) {
  void* memory = nullptr;
  CUDA_TRY(cudaMalloc(&memory, std::max<size_t>(bytes, 16)));
  memory_.push_back(memory);
  return memory;
}

quire::Tensor Arena::tensor(quire::DType dtype, int rows, int64_t columns) {
  const size_t bytes = static_cast<size_t>(rows) * columns * elementBytes(dtype);
  void* memory = allocate(bytes);
  if (dtype == quire::DType::u32) CUDA_TRY(cudaMemsetAsync(memory, 0, bytes, stream_));
  else CUDA_TRY(fillNoise(memory, dtype, static_cast<int64_t>(rows) * columns, seed_++, stream_));
  return {memory, dtype, rows, columns};
}

quire::Tensor Arena::words(int rows, int64_t columns, const std::vector<uint32_t>& contents) {
  void* memory = allocate(contents.size() * 4);
  CUDA_TRY(cudaMemcpy(memory, contents.data(), contents.size() * 4, cudaMemcpyHostToDevice));
  return {memory, quire::DType::u32, rows, columns};
}

Bench::Bench(Limits limits, double seconds) : limits_(limits), deadline_(now() + seconds) {
  int major = 0;
  CUDA_TRY(cudaStreamCreateWithFlags(&step_.stream, cudaStreamNonBlocking));
  CUDA_TRY(cudaDeviceGetAttribute(&step_.smCount, cudaDevAttrMultiProcessorCount, 0));
  CUDA_TRY(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
  quire::dependentLaunches = major >= 9;
  reserveWorkspace(quire::workspaceBytes(0));
}

Bench::~Bench() { cudaFree(step_.workspace.data); }

void Bench::reserveWorkspace(size_t bytes) {
  if (step_.workspace.bytes >= bytes) return;
  cudaFree(step_.workspace.data);
  CUDA_TRY(cudaMalloc(&step_.workspace.data, bytes));
  CUDA_TRY(cudaMemset(step_.workspace.data, 0, bytes));
  step_.workspace.bytes = bytes;
}

bool Bench::outOfTime() const { return now() > deadline_; }

void Bench::time(const Subject& subject, const std::function<cudaError_t(int)>& enqueue) {
  if (outOfTime()) return;
  auto fail = [&](cudaError_t e) { std::printf("{\"name\":\"%s\",\"error\":\"%s\"}\n", subject.name.c_str(), cudaGetErrorString(e)), std::fflush(stdout); };
  // The first launch loads the kernel and sets its attributes, which a capture does not record.
  if (const cudaError_t e = enqueue(0); e != cudaSuccess) return fail(e);
  if (const cudaError_t e = cudaStreamSynchronize(stream()); e != cudaSuccess) return fail(e);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  CUDA_TRY(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal));
  cudaError_t launched = cudaSuccess;
  for (int i = 0; i < subject.replicas && launched == cudaSuccess; i++) launched = enqueue(i);
  CUDA_TRY(cudaStreamEndCapture(stream(), &graph));
  if (launched != cudaSuccess) return fail(launched);
  CUDA_TRY(cudaGraphInstantiate(&exec, graph, 0));
  cudaGraphDestroy(graph);
  cudaEvent_t start, stop;
  CUDA_TRY(cudaEventCreate(&start));
  CUDA_TRY(cudaEventCreate(&stop));
  std::vector<double> times;
  for (int i = 0; i < kReplays + 1; i++) {
    CUDA_TRY(cudaEventRecord(start, stream()));
    CUDA_TRY(cudaGraphLaunch(exec, stream()));
    CUDA_TRY(cudaEventRecord(stop, stream()));
    CUDA_TRY(cudaEventSynchronize(stop));
    float milliseconds = 0;
    CUDA_TRY(cudaEventElapsedTime(&milliseconds, start, stop));
    if (i > 0) times.push_back(milliseconds * 1e3 / subject.replicas);
  }
  cudaEventDestroy(start), cudaEventDestroy(stop), cudaGraphExecDestroy(exec);
  std::sort(times.begin(), times.end());
  const double us = times[times.size() / 2], limit = std::max(subject.bytes / limits_.bytesPerSecond, subject.flops / limits_.flopsPerSecond) * 1e6;
  std::printf("{\"name\":\"%s\",\"us\":%.3f,\"least\":%.3f,\"limitUs\":%.3f,\"share\":%.3f,\"gbPerS\":%.1f,\"tflops\":%.2f}\n", subject.name.c_str(), us, times[0], limit, limit / us, subject.bytes / us * 1e-3,
              subject.flops / us * 1e-6);
  std::fflush(stdout);
}

int replicasOf(double bytes) { return std::clamp(static_cast<int>(kColdBytes / std::max(bytes, 1.0)) + 1, kFewestReplicas, kMostReplicas); }
