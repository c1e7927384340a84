// Captured decode steps: one graph per list of plans and batch bucket.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cuda_runtime.h"

namespace quire {

// Plan id and batch of each step, in turn.
using GraphKey = std::vector<int>;

struct CapturedGraph {
  // Null until the key has been met twice: what runs once is not worth a capture, and its first run loads the kernels.
  cudaGraphExec_t exec = nullptr;
  std::string name;
  int kernels = 0, copies = 0, sets = 0;
  // How often it was launched.
  uint64_t replays = 0;
  uint64_t lastUse = 0;
};

// Engine thread only. Holds at most `capacity` graphs; the one unused for longest gives way.
class GraphCache {
 public:
  // `retire` destroys an executable graph once the device has left it.
  GraphCache(size_t capacity, std::function<void(cudaGraphExec_t)> retire) : capacity_(capacity), retire_(std::move(retire)) {}

  // The entry of a key, made when there is none. Valid until the next call.
  CapturedGraph& at(const GraphKey& key);
  // Drops the graphs that hold a plan's addresses.
  void removePlan(int planId);
  // Drops all, at once.
  void clear();
  const std::map<GraphKey, CapturedGraph>& entries() const { return entries_; }

 private:
  void evictOne();

  size_t capacity_;
  std::function<void(cudaGraphExec_t)> retire_;
  std::map<GraphKey, CapturedGraph> entries_;
  uint64_t uses_ = 0;
};

// Counts the nodes of a graph, instantiates it and destroys it.
cudaError_t instantiate(cudaGraph_t graph, CapturedGraph& captured);

}  // namespace quire
