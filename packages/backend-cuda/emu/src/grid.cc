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
  order_.resize(blocks);
  std::iota(order_.begin(), order_.end(), 0);
  if (order == Order::reverse) std::reverse(order_.begin(), order_.end());
  if (order == Order::shuffled) std::shuffle(order_.begin(), order_.end(), random);
  counters.launches++;
  counters.blocks += blocks;
  counters.threads += blocks * config.block.count();
}

Grid::~Grid() = default;

// The next block takes a place on the chip.
void Grid::admit() {
  const uint64_t i = order_[next_++];
  const Dim3 index{static_cast<unsigned>(i % config.grid.x), static_cast<unsigned>(i / config.grid.x % config.grid.y),
                   static_cast<unsigned>(i / (uint64_t{config.grid.x} * config.grid.y))};
  resident_.push_back(std::make_unique<Block>(*this, index));
}

void Grid::run(bool stopAtDependency) {
  idleRounds_ = 0;
  while (error.empty()) {
    if (resident_.empty() && next_ == order_.size()) return;
    size_t ended = 0;
    const uint64_t before = counters.barriers + counters.collectives;
    for (auto& block : resident_) {
      if (block->run()) block.reset(), ended++;
      if (!error.empty()) break;
    }
    resident_.erase(std::remove(resident_.begin(), resident_.end(), nullptr), resident_.end());
    // A block runs when it is admitted: one that waits for no other ends, and leaves its place and its warm stacks to the next.
    while (error.empty() && resident_.size() < capacity_ && next_ < order_.size()) {
      admit();
      if (resident_.back()->run()) resident_.pop_back(), ended++;
    }
    if (!error.empty() || ended > 0) continue;
    if (stopAtDependency && std::all_of(resident_.begin(), resident_.end(), [](const auto& b) { return b->waitsForDependency(); })) return;
    const bool moved = counters.barriers + counters.collectives != before;
    if (!moved && !dependencyDone) return;
    if (!moved && config.meetsPeers) return;
    static constexpr int kIdleRounds = 3;
    idleRounds_ = moved ? 0 : idleRounds_ + 1;
    if (idleRounds_ > kIdleRounds) error = "all " + std::to_string(resident_.size()) + " resident blocks wait for each other; " + std::to_string(order_.size() - next_) + " blocks were never started";
  }
  if (!error.empty()) throw KernelFault{std::string("kernel ") + config.name + ": " + error, config.operation};
}

}  // namespace emu
