#include "host-costs.h"

#include <cstring>

#include "launch-kernels.h"
#include "timing.h"

namespace {
struct PinnedArray {
  explicit PinnedArray(size_t n) : bytes(n) { CUDA_TRY(cudaHostAlloc(reinterpret_cast<void**>(&data), n, cudaHostAllocDefault)); }
  ~PinnedArray() { cudaFreeHost(data); }
  PinnedArray(const PinnedArray&) = delete;
  PinnedArray& operator=(const PinnedArray&) = delete;
  unsigned char* data = nullptr;
  size_t bytes;
};

// From before the launch of an empty kernel until the host goes on.
template <class Wait>
double roundTrip(const Probe& probe, const Event& event, Wait wait) {
  std::vector<double> times;
  for (int i = 0; i < Probe::pick(101, 2); i++) {
    const auto start = Probe::Clock::now();
    enqueueLink(probe, {nullptr, 0}, Form::plain, 1, 32);
    CUDA_TRY(cudaEventRecord(event.handle, probe.stream));
    wait();
    times.push_back(microsecondsSince(start));
  }
  return median(times);
}

// Two streams that take turns through events.
double handover(const Probe& probe) {
  Probe other = probe;
  CUDA_TRY(cudaStreamCreateWithFlags(&other.stream, cudaStreamNonBlocking));
  const Event there(cudaEventDisableTiming), back(cudaEventDisableTiming);
  const int turns = Probe::pick(100, 2);
  const double microseconds = medianMicroseconds(probe, Probe::pick(7, 1), [&] {
    for (int i = 0; i < turns; i++) {
      enqueueLink(probe, {nullptr, 0}, Form::plain, 1, 32);
      CUDA_TRY(cudaEventRecord(there.handle, probe.stream));
      CUDA_TRY(cudaStreamWaitEvent(other.stream, there.handle, 0));
      enqueueLink(other, {nullptr, 0}, Form::plain, 1, 32);
      CUDA_TRY(cudaEventRecord(back.handle, other.stream));
      CUDA_TRY(cudaStreamWaitEvent(probe.stream, back.handle, 0));
    }
  });
  CUDA_TRY(cudaStreamDestroy(other.stream));
  return microseconds / (2 * turns);
}
}  // namespace

void eventCosts(const Probe& probe) {
  const Event spinning(cudaEventDisableTiming), blocking(cudaEventDisableTiming | cudaEventBlockingSync);
  const double spin = roundTrip(probe, spinning, [&] { CUDA_TRY(cudaEventSynchronize(spinning.handle)); });
  const double sleep = roundTrip(probe, blocking, [&] { CUDA_TRY(cudaEventSynchronize(blocking.handle)); });
  const double poll = roundTrip(probe, spinning, [&] {
    cudaError_t e;
    while ((e = cudaEventQuery(spinning.handle)) == cudaErrorNotReady) {
    }
    CUDA_TRY(e);
  });
  probe.line("launch and wait").put("spinMicroseconds", spin).put("blockingMicroseconds", sleep).put("pollMicroseconds", poll).emit();
  probe.line("stream to stream").put("microsecondsPerKernel", handover(probe)).emit();
  probe.headline(format("launch, event, wake-up: %.1f us blocking, %.1f us spinning", sleep, spin));
}

void hostCopies(const Probe& probe) {
  const std::vector<size_t> sizes = Probe::pick<std::vector<size_t>>({4, 4096, 65536, 1u << 20, 16u << 20, 256u << 20}, {4, 4096});
  const PinnedArray to(sizes.back()), from(sizes.back());
  const DeviceArray<unsigned char> device(sizes.back());
  Random random{11};
  for (size_t i = 0; i < from.bytes; i += 4096) from.data[i] = static_cast<unsigned char>(random.next());
  for (const size_t bytes : sizes) {
    for (const bool upload : {true, false}) {
      const auto enqueue = [&] {
        if (upload) CUDA_TRY(cudaMemcpyAsync(device.data, from.data, bytes, cudaMemcpyHostToDevice, probe.stream));
        else CUDA_TRY(cudaMemcpyAsync(to.data, device.data, bytes, cudaMemcpyDeviceToHost, probe.stream));
      };
      const double microseconds = medianMicroseconds(probe, Probe::pick(11, 1), enqueue);
      std::vector<double> wall;
      for (int i = 0; i < Probe::pick(11, 1); i++) {
        const auto start = Probe::Clock::now();
        enqueue();
        CUDA_TRY(cudaStreamSynchronize(probe.stream));
        wall.push_back(microsecondsSince(start));
      }
      probe.line(upload ? "pinned copy to device" : "pinned copy to host").put("bytes", bytes).put("microseconds", microseconds)
          .put("wallMicroseconds", median(wall)).put("gbPerSecond", static_cast<double>(bytes) / microseconds / 1e3).emit();
    }
    if (std::memcmp(to.data, from.data, bytes) != 0) throw std::runtime_error("a copy to the device and back changed its bytes");
  }
}
