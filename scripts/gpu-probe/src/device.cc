// Stage 1: what this GPU is. Rates that the driver states are maxima; nvidia-smi in run.sh adds the clocks of the moment.
#include <fstream>

#include "stages.h"

namespace {
#if defined(EMU)
struct { const char* name; cudaDeviceAttr attribute; } const kAttributes[] = {{"sharedBytesPerBlock", cudaDevAttrMaxSharedMemoryPerBlockOptin}};
#else
struct { const char* name; cudaDeviceAttr attribute; } const kAttributes[] = {
    {"smClockKhz", cudaDevAttrClockRate},
    {"memoryClockKhz", cudaDevAttrMemoryClockRate},
    {"memoryBusBits", cudaDevAttrGlobalMemoryBusWidth},
    {"l2Bytes", cudaDevAttrL2CacheSize},
    {"persistingL2Bytes", cudaDevAttrMaxPersistingL2CacheSize},
    {"sharedBytesPerSm", cudaDevAttrMaxSharedMemoryPerMultiprocessor},
    {"sharedBytesPerBlock", cudaDevAttrMaxSharedMemoryPerBlockOptin},
    {"sharedBytesReservedPerBlock", cudaDevAttrReservedSharedMemoryPerBlock},
    {"registersPerSm", cudaDevAttrMaxRegistersPerMultiprocessor},
    {"threadsPerSm", cudaDevAttrMaxThreadsPerMultiProcessor},
    {"blocksPerSm", cudaDevAttrMaxBlocksPerMultiprocessor},
    {"ecc", cudaDevAttrEccEnabled},
    {"copyEngines", cudaDevAttrAsyncEngineCount},
    {"cooperativeLaunch", cudaDevAttrCooperativeLaunch},
    {"memoryPools", cudaDevAttrMemoryPoolsSupported},
};
#endif

std::string kernelDriver() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string line;
  std::getline(file, line);
  return line;
}
}  // namespace

void deviceStage(const Probe& probe) {
  int driver = 0, runtime = 0;
  size_t free = 0, total = 0;
  CUDA_TRY(cudaDriverGetVersion(&driver));
  CUDA_TRY(cudaRuntimeGetVersion(&runtime));
  CUDA_TRY(cudaMemGetInfo(&free, &total));
  JsonLine line = probe.line("device");
  line.put("device", probe.deviceName).put("capability", probe.capability).put("smCount", probe.smCount);
  line.put("driverCuda", driver).put("runtimeCuda", runtime).put("kernelDriver", kernelDriver());
  line.put("freeBytes", free).put("totalBytes", total);
  for (const auto& [name, attribute] : kAttributes) {
    int value = 0;
    if (cudaDeviceGetAttribute(&value, attribute, 0) == cudaSuccess) line.put(name, value);
    else line.put(name, nullptr), cudaGetLastError();
  }
  line.emit();
  probe.headline(format("%s, sm_%d, %d SMs, %.1f GB, CUDA %d.%d", probe.deviceName.c_str(), probe.capability, probe.smCount, static_cast<double>(total) / 1e9, driver / 1000, driver % 1000 / 10));
}
