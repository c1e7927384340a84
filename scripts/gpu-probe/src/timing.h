// Time on the device between two events, and replays of a captured graph.
#pragma once
#include <functional>

#include "probe.h"

struct Event {
  explicit Event(unsigned flags = 0) { CUDA_TRY(cudaEventCreateWithFlags(&handle, flags)); }
  ~Event() { cudaEventDestroy(handle); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t handle;
};

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Median of `repeats` after one warm-up, in microseconds.
template <class Enqueue>
double medianMicroseconds(const Probe& probe, int repeats, Enqueue enqueue) {
  Event start, stop;
  std::vector<double> times;
  for (int i = 0; i < repeats + 1; i++) {
    CUDA_TRY(cudaEventRecord(start.handle, probe.stream));
    enqueue();
    CUDA_TRY(cudaEventRecord(stop.handle, probe.stream));
    CUDA_TRY(cudaEventSynchronize(stop.handle));
    float milliseconds = 0;
    CUDA_TRY(cudaEventElapsedTime(&milliseconds, start.handle, stop.handle));
    if (i > 0) times.push_back(milliseconds * 1e3);
  }
  return median(times);
}

inline double microsecondsSince(Probe::Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Probe::Clock::now() - start).count();
}

class Graph {
 public:
  // Captures what `enqueue` puts on the probe's stream.
  Graph(const Probe& probe, const std::function<void()>& enqueue) : stream_(probe.stream) {
    cudaGraph_t graph;
    CUDA_TRY(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    enqueue();
    CUDA_TRY(cudaStreamEndCapture(stream_, &graph));
    const auto start = Probe::Clock::now();
    const cudaError_t e = cudaGraphInstantiate(&exec_, graph, 0);
    instantiateMicroseconds = microsecondsSince(start);
    cudaGraphDestroy(graph);
    cudaCheck(e, "cudaGraphInstantiate");
  }
  ~Graph() { cudaGraphExecDestroy(exec_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void launch() const { CUDA_TRY(cudaGraphLaunch(exec_, stream_)); }
  double instantiateMicroseconds = 0;

 private:
  cudaStream_t stream_;
  cudaGraphExec_t exec_;
};
