// What every stage is given: the device, a stream, the clock, and where results go.
#pragma once
#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "json-line.h"

// The machine has no usable GPU; the message says why.
struct NoDevice : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void cudaCheck(cudaError_t error, const char* expression);
#define CUDA_TRY(expression) cudaCheck((expression), #expression)

struct Probe {
  using Clock = std::chrono::steady_clock;

  const char* stage = "";
  std::string folder;  // for fixtures
  Clock::time_point deadline{};
  cudaStream_t stream = nullptr;
  std::string deviceName;
  int smCount = 0;
  int capability = 0;  // 80, 90
#if defined(EMU)
  static constexpr bool emulated = true;
#else
  static constexpr bool emulated = false;
#endif

  // The size for a GPU, or the small one for the emulator, which checks results and measures nothing.
  template <class T>
  static T pick(T onGpu, T onEmulator) {
    return emulated ? onEmulator : onGpu;
  }
  bool timeLeft() const { return Clock::now() < deadline; }
  // Dependent launches exist from sm_90 on.
  bool hasDependentLaunch() const { return capability >= 90; }

  JsonLine line(const char* what) const;
  // One sentence for a human; run.sh prints these last.
  void headline(const std::string& text) const;
};

// Opens device 0 and a stream. Throws NoDevice.
Probe openProbe(const char* stage, const std::string& folder, Probe::Clock::time_point deadline);

std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));
// 2026-01-31T12:00:00Z, and the commit of the build.
std::string utcNow();
const char* commitOfBuild();

template <class T>
struct DeviceArray {
  explicit DeviceArray(size_t n) : count(n) { CUDA_TRY(cudaMalloc(reinterpret_cast<void**>(&data), n * sizeof(T))); }
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) {
    CUDA_TRY(cudaMemcpy(data, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice));
    // From pageable memory the copy may return before its last part has arrived, and the probe's stream does not wait for it.
    CUDA_TRY(cudaDeviceSynchronize());
  }
  ~DeviceArray() { cudaFree(data); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  // Waits for the stream first.
  std::vector<T> read(cudaStream_t stream) const {
    CUDA_TRY(cudaStreamSynchronize(stream));
    std::vector<T> host(count);
    CUDA_TRY(cudaMemcpy(host.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost));
    return host;
  }
  T* data = nullptr;
  size_t count;
};

// splitmix64: the same numbers on every machine.
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>((next() >> 32) * n >> 32); }
};
