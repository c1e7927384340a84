// Times launches on the device: a captured graph of enough launches over enough memory that no level of cache keeps what the
// next launch reads. One JSON line per subject.
#pragma once
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "kernels/kernels.h"

#define CUDA_TRY(call) cudaTry((call), #call)
void cudaTry(cudaError_t error, const char* what);

// Memory that is freed with the bench; noise of `dtype`, or zeros for u32.
class Arena {
 public:
  explicit Arena(cudaStream_t stream) : stream_(stream) {}
  ~Arena();
  quire::Tensor tensor(quire::DType dtype, int rows, int64_t columns);
  quire::Tensor words(int rows, int64_t columns, const std::vector<uint32_t>& contents);

 private:
  void* allocate(size_t bytes);
  cudaStream_t stream_;
  std::vector<void*> memory_;
  uint32_t seed_ = 1;
};

struct Subject {
  std::string name;
  // What crosses the memory bus at least, and operations of the tensor cores; either may be 0.
  double bytes = 0, flops = 0;
  // Launches over distinct memory that a graph holds.
  int replicas = 1;
};

struct Limits {
  double bytesPerSecond = 4.3e12, flopsPerSecond = 790e12;
};

class Bench {
 public:
  Bench(Limits limits, double seconds);
  ~Bench();
  const quire::Step& step() const { return step_; }
  quire::Step& step() { return step_; }
  cudaStream_t stream() const { return step_.stream; }
  // A workspace of at least so many bytes, counters included.
  void reserveWorkspace(size_t bytes);
  // Prints the time of one launch: the median over replays of a graph of `replicas` of them. A failed launch is a line with its error.
  void time(const Subject&, const std::function<cudaError_t(int replica)>& enqueue);
  bool outOfTime() const;

 private:
  Limits limits_;
  double deadline_;
  quire::Step step_{};
};

// The number of replicas of `bytes` that together are far larger than the second cache.
int replicasOf(double bytes);
