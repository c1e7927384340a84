// A launched kernel: admits blocks up to the chip's capacity and runs them round-robin.
#include "cooperative.h"
#include "grid.h"

#include <algorithm>
#include <numeric>

namespace emu {

Chip& chip() {
  static Chip the;
  return the;
}

bool& hasCooperativeLaunches() {
  static bool has = true;
  return has;
}

thread_local std::string operation;
thread_local bool meetsPeers = false;
thread_local unsigned clusterBlocks = 1;

Grid::Grid(LaunchConfig c, std::function<void()> kernel)
    : config(c), body(std::move(kernel)), counters(kernelCounters()[c.name]), order(chip().order), random(chip().seed ^ std::hash<std::string>{}(c.name)) {
  const uint64_t blocks = config.grid.count();
  capacity_ = static_cast<size_t>(chip().smCount) * chip().blocksPerSm;
  if (config.cooperative && !hasCooperativeLaunches()) error = "a cooperative launch on a chip that has none";
  if (config.cooperative && blocks > capacity_) {
    error = "a cooperative grid of " + std::to_string(blocks) + " blocks does not fit the chip at once, which holds " + std::to_string(capacity_);
  }
  if (config.grid.y > kMaxGridYZ || config.grid.z > kMaxGridYZ) {
    error = "a grid of " + std::to_string(config.grid.y) + " x " + std::to_string(config.grid.z) + " blocks in y and z, at most " + std::to_string(kMaxGridYZ) + " each are allowed";
  }
  if (config.dynamicSharedBytes > config.sharedLimit) {
    error = "a launch of " + std::to_string(config.dynamicSharedBytes) + " bytes of dynamic shared memory, a block may have " + std::to_string(config.sharedLimit);
  }
  if (config.cluster > 1 && !hasClusters()) error = "a launch in clusters on a chip that has none";
  if (config.cluster > kMaxClusterBlocks || config.grid.x % config.cluster != 0) {
    error = "a grid of " + std::to_string(config.grid.x) + " blocks in clusters of " + std::to_string(config.cluster) + ": at most " + std::to_string(kMaxClusterBlocks) + ", which divide the grid";
  }
  order_.resize(blocks / config.cluster);
  std::iota(order_.begin(), order_.end(), 0);
  if (order == Order::reverse) std::reverse(order_.begin(), order_.end());
  if (order == Order::shuffled) std::shuffle(order_.begin(), order_.end(), random);
  counters.launches++;
  counters.blocks += blocks;
  counters.threads += blocks * config.block.count();
}

Grid::~Grid() = default;

// The blocks of the next cluster, mostly one, take their places on the chip.
void Grid::admit() {
  const uint64_t first = order_[next_++] * config.cluster;
  const auto cluster = std::make_shared<Cluster>();
  for (uint64_t i = first; i < first + config.cluster; i++) {
    const Dim3 index{static_cast<unsigned>(i % config.grid.x), static_cast<unsigned>(i / config.grid.x % config.grid.y),
                     static_cast<unsigned>(i / (uint64_t{config.grid.x} * config.grid.y))};
    resident_.push_back(std::make_unique<Block>(*this, index, cluster));
  }
}

// Runs the resident blocks from `first` on, and returns how many ended.
size_t Grid::runFrom(size_t first) {
  for (size_t i = first; i < resident_.size() && error.empty(); i++) {
    if (resident_[i]->run()) resident_[i].reset();
  }
  const size_t before = resident_.size();
  resident_.erase(std::remove(resident_.begin() + first, resident_.end(), nullptr), resident_.end());
  return before - resident_.size();
}

void Grid::run(bool stopAtDependency) {
  idleRounds_ = 0;
  while (error.empty()) {
    if (resident_.empty() && next_ == order_.size()) return;
    const uint64_t before = counters.barriers + counters.collectives;
    size_t ended = runFrom(0);
    // A block runs when it is admitted: one that waits for no other ends, and leaves its place and its warm stacks to the next. A
    // cluster finds room on any chip.
    while (error.empty() && next_ < order_.size() && (resident_.empty() || resident_.size() + config.cluster <= capacity_)) {
      const size_t first = resident_.size();
      admit();
      ended += runFrom(first);
    }
    if (!error.empty() || ended > 0) continue;
    if (stopAtDependency && std::all_of(resident_.begin(), resident_.end(), [](const auto& b) { return b->waitsForDependency(); })) return;
    const bool moved = counters.barriers + counters.collectives != before;
    if (!moved && !dependencyDone) return;
    if (!moved && config.meetsPeers) return;
    static constexpr int kIdleRounds = 3;
    idleRounds_ = moved ? 0 : idleRounds_ + 1;
    if (idleRounds_ > kIdleRounds) error = "all " + std::to_string(resident_.size()) + " resident blocks wait for each other; " + std::to_string((order_.size() - next_) * config.cluster) + " blocks were never started";
  }
  if (!error.empty()) throw KernelFault{std::string("kernel ") + config.name + ": " + error, config.operation};
}

}  // namespace emu
