#include "probe.h"

#include <cstdarg>
#include <cstdio>
#include <ctime>

void cudaCheck(cudaError_t error, const char* expression) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string(expression) + ": " + cudaGetErrorName(error) + ", " + cudaGetErrorString(error));
}

namespace {
std::string whyNoDevice(cudaError_t error, int driver, int runtime) {
  if (error == cudaErrorInsufficientDriver && driver == 0) return "no NVIDIA driver on this machine (libcuda.so.1)";
  if (error == cudaErrorInsufficientDriver) return format("the NVIDIA driver is too old: it serves CUDA %d.%d, this build needs %d.%d", driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  if (error == cudaErrorNoDevice || error == cudaSuccess) return "the NVIDIA driver finds no device";
  return std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
}
}  // namespace

Probe openProbe(const char* stage, const std::string& folder, Probe::Clock::time_point deadline) {
  int devices = 0, driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess || devices == 0) throw NoDevice(whyNoDevice(error, driver, runtime));
  Probe probe;
  probe.stage = stage;
  probe.folder = folder;
  probe.deadline = deadline;
  CUDA_TRY(cudaSetDevice(0));
  cudaDeviceProp properties;
  CUDA_TRY(cudaGetDeviceProperties(&properties, 0));
  probe.deviceName = properties.name;
  probe.smCount = properties.multiProcessorCount;
  probe.capability = 10 * properties.major + properties.minor;
  CUDA_TRY(cudaStreamCreateWithFlags(&probe.stream, cudaStreamNonBlocking));
  return probe;
}

JsonLine Probe::line(const char* what) const {
  JsonLine line(stage);
  line.put("what", what);
  if (emulated) line.put("emulated", true);
  return line;
}

void Probe::headline(const std::string& text) const {
  JsonLine line(stage);
  line.put("headline", text);
  if (emulated) line.put("emulated", true);
  line.emit();
}

std::string format(const char* pattern, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  return text;
}

std::string utcNow() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return text;
}

const char* commitOfBuild() { return PROBE_COMMIT; }
