#include "graph-cache.h"

#include <algorithm>

namespace quire {

CapturedGraph& GraphCache::at(const GraphKey& key) {
  if (entries_.find(key) == entries_.end() && entries_.size() >= capacity_) evictOne();
  CapturedGraph& entry = entries_[key];
  entry.lastUse = ++uses_;
  return entry;
}

void GraphCache::evictOne() {
  const auto oldest = std::min_element(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) { return a.second.lastUse < b.second.lastUse; });
  if (oldest->second.exec != nullptr) retire_(oldest->second.exec);
  entries_.erase(oldest);
}

void GraphCache::removePlan(int planId) {
  for (auto it = entries_.begin(); it != entries_.end();) {
    bool holds = false;
    for (size_t i = 0; i < it->first.size(); i += 2) holds |= it->first[i] == planId;
    if (holds && it->second.exec != nullptr) retire_(it->second.exec);
    it = holds ? entries_.erase(it) : std::next(it);
  }
}

void GraphCache::clear() {
  for (auto& [key, entry] : entries_) {
    if (entry.exec != nullptr) cudaGraphExecDestroy(entry.exec);
  }
  entries_.clear();
}

namespace {

void countNodes(cudaGraph_t graph, CapturedGraph& captured) {
#if defined(EMU)
  const auto nodes = emu::graphNodes(graph);
  captured.kernels = nodes.kernels, captured.copies = nodes.copies, captured.sets = nodes.sets;
#else
  size_t count = 0;
  cudaGraphGetNodes(graph, nullptr, &count);
  std::vector<cudaGraphNode_t> nodes(count);
  cudaGraphGetNodes(graph, nodes.data(), &count);
  for (const auto node : nodes) {
    cudaGraphNodeType type;
    cudaGraphNodeGetType(node, &type);
    captured.kernels += type == cudaGraphNodeTypeKernel;
    captured.copies += type == cudaGraphNodeTypeMemcpy;
    captured.sets += type == cudaGraphNodeTypeMemset;
  }
#endif
}

}  // namespace

cudaError_t instantiate(cudaGraph_t graph, CapturedGraph& captured) {
  countNodes(graph, captured);
  const cudaError_t e = cudaGraphInstantiate(&captured.exec, graph, 0);
  cudaGraphDestroy(graph);
  return e;
}

}  // namespace quire
