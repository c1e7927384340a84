// One resident block: its fibers, barriers, warp collectives and shared memory.
#include <algorithm>
#include <cstdarg>
#include <cstdlib>
#include <cstring>

#include "grid.h"
#include "sanitizer.h"

namespace emu {

thread_local Thread* current __attribute__((tls_model("initial-exec"))) = nullptr;

namespace {
StackPool& stackPool() {
  static thread_local StackPool pool;
  return pool;
}

// Shared memory begins as NaN bits, so that a value read before it is written shows.
constexpr int kPoisonByte = 0xff;

// Shared memory of ended blocks, kept for the next ones.
struct SharedPool {
  std::vector<char*> free;
  ~SharedPool() {
    for (char* memory : free) std::free(memory);
  }
  char* take() {
    if (free.empty()) return static_cast<char*>(std::aligned_alloc(1024, (kMaxSharedBytes + 1023) / 1024 * 1024));
    char* memory = free.back();
    free.pop_back();
    return memory;
  }
};
SharedPool& sharedPool() {
  static thread_local SharedPool pool;
  return pool;
}

std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string text(const char* format, ...) {
  char buffer[1024];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(buffer, sizeof buffer, format, arguments);
  va_end(arguments);
  return buffer;
}
}  // namespace

Block::Block(Grid& owner, Dim3 index, std::shared_ptr<Cluster> cluster) : grid(owner), blockIdx(index), cluster_(std::move(cluster)) {
  cluster_->blocks.push_back(this);
  dynamicSharedBytes = owner.config.dynamicSharedBytes;
  shared = sharedPool().take();
  std::memset(shared, kPoisonByte, dynamicSharedBytes);
  sharedUsed_ = (dynamicSharedBytes + 127) & ~size_t{127};
  EMU_POISON(shared + dynamicSharedBytes, kMaxSharedBytes - dynamicSharedBytes);
  makeThreads();
}

void Block::makeThreads() {
  const Dim3 size = grid.config.block;
  const int count = static_cast<int>(size.count());
  threads.resize(count);
  warps.resize((count + kWarpSize - 1) / kWarpSize);
  for (int i = 0; i < count; i++) {
    warps[i / kWarpSize].present |= 1u << i % kWarpSize;
    Thread& t = threads[i];
    t.threadIdx = {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
    t.lane = i % kWarpSize;
    t.linear = i;
    t.block = this;
    t.fiber.stack = stackPool().take(i);
    fiberPrepare(t.fiber, i, &Block::threadMain, &t);
    ready_.push_back(i);
  }
  if (grid.order == Order::reverse) std::reverse(ready_.begin(), ready_.end());
  if (grid.order == Order::shuffled) std::shuffle(ready_.begin(), ready_.end(), grid.random);
}

Block::~Block() {
  std::replace(cluster_->blocks.begin(), cluster_->blocks.end(), this, static_cast<Block*>(nullptr));
  for (auto& t : threads) {
    if (t.fiber.stack != nullptr) stackPool().give(t.fiber.stack);
  }
  for (auto& w : warps) w.requests.flush(grid.counters);
  EMU_UNPOISON(shared, kMaxSharedBytes);
  sharedPool().free.push_back(shared);
}

void Block::threadMain(void* argument) {
  auto* thread = static_cast<Thread*>(argument);
  thread->block->grid.body();
  thread->block->finish(*thread);
}

void Block::finish(Thread& thread) {
  if (!thread.copies.empty()) fail("a thread ended with cp.async copies that it never waited for");
  done_++;
  warps[thread.linear / kWarpSize].done |= 1u << thread.lane;
  checkBarrierAgainstExit();
  const int warp = thread.linear / kWarpSize;
  if (products && warps[warp].done == warps[warp].present) products->warpEnds(warp);
  thread.state = ThreadState::done;
  switchFrom(thread);
  // A finished thread is never resumed. The compiler is not told: AddressSanitizer would clean up the stack before every call that
  // does not return, and knows no stack but those of the process's own threads.
}

void Block::yield(ThreadState state, const char* what, int line) {
  Thread* self = current;
  self->state = state;
  self->waitingAt = what;
  self->waitingLine = line;
  switchFrom(*self);
  current = self;
}

// On to the next thread that can go on; when there is none, or after a fault, back to run().
void Block::switchFrom(Thread& self) {
  const int next = grid.error.empty() ? nextReady() : -1;
  if (next >= 0) current = &threads[next];
  fiberSwitch(self.fiber, next >= 0 ? threads[next].fiber : scheduler_);
}

void Block::wake(int linear) {
  threads[linear].state = ThreadState::ready;
  ready_.push_back(linear);
}

int Block::nextReady() {
  if (readyHead_ == ready_.size()) {
    ready_.clear();
    readyHead_ = 0;
    return -1;
  }
  if (grid.order == Order::shuffled) {
    const size_t pick = readyHead_ + grid.random.below(ready_.size() - readyHead_);
    std::swap(ready_[readyHead_], ready_[pick]);
  }
  return ready_[readyHead_++];
}

bool Block::pollSpinning() {
  bool any = false;
  for (auto& t : threads) {
    if (t.state == ThreadState::spinning && t.spinUntil()) {
      wake(t.linear);
      any = true;
    }
  }
  return any;
}

bool Block::run() {
  if (grid.dependencyDone) {
    for (auto& t : threads) {
      if (t.state == ThreadState::atDependencyWait) wake(t.linear);
    }
  }
  pollSpinning();
  if (const int first = nextReady(); first >= 0) {
    current = &threads[first];
    fiberSwitch(scheduler_, threads[first].fiber);
    current = nullptr;
    if (!grid.error.empty()) return false;
  }
  if (done_ == static_cast<int>(threads.size())) return true;
  const bool waitsOutside = std::any_of(threads.begin(), threads.end(), [](const Thread& t) {
    return t.state == ThreadState::atDependencyWait || t.state == ThreadState::spinning;
  });
  if (!waitsOutside) {
    std::string report = text("deadlock in block (%u,%u,%u): no thread can go on.", blockIdx.x, blockIdx.y, blockIdx.z);
    std::map<std::string, int> places;
    for (const auto& t : threads) {
      if (t.state != ThreadState::done) places[text("%s at line %d", t.waitingAt, t.waitingLine)]++;
    }
    for (const auto& [place, count] : places) report += text(" %d threads wait in %s.", count, place.c_str());
    report += text(" %d threads have ended.", done_);
    grid.error = report;
  }
  return false;
}

bool Block::waitsForDependency() const {
  return std::any_of(threads.begin(), threads.end(), [](const Thread& t) { return t.state == ThreadState::atDependencyWait; });
}

// bar.sync id, count: threads of one barrier must meet at one place in the code; two places are a divergence.
void Block::barrier(int id, int count, int line) {
  const int live = static_cast<int>(threads.size()) - done_;
  NamedBarrier& b = barriers_[id];
  if (b.arrived == 0) {
    b.line = line;
    b.expected = count;
  } else if (b.line != line || b.expected != count) {
    fail(text("threads of one block at different barriers: some wait at line %d, another arrives at line %d", b.line, line));
  }
  b.arrived++;
  if (b.arrived == 1) grid.counters.barriers++;
  const int expected = count == 0 ? live : count;
  if (b.arrived < expected) {
    b.waiting.push_back(current->linear);
    yield(ThreadState::atBarrier, "a barrier", line);
    return;
  }
  if (count == 0) {
    for (auto& w : warps) w.requests.flush(grid.counters);
  }
  if (products) products->barrierPassed(b.waiting, current->linear);
  for (int linear : b.waiting) wake(linear);
  b.waiting.clear();
  b.arrived = 0;
}

// A block barrier waits for threads that have not ended; when the last of them ends, it opens on the GPU. In our kernels
// an early return in front of a barrier is a mistake more often than not, so it is one here.
void Block::checkBarrierAgainstExit() {
  const NamedBarrier& b = barriers_[0];
  if (b.arrived > 0 && b.expected == 0 && b.arrived == static_cast<int>(threads.size()) - done_) {
    grid.error = text("block (%u,%u,%u): %d threads wait at the barrier of line %d and the other %d have ended without it",
                      blockIdx.x, blockIdx.y, blockIdx.z, b.arrived, b.line, done_);
  }
}

void Block::collective(uint32_t mask, int operation, void* slot, int line, void (*execute)(void**, uint32_t, void*), void* state) {
  Thread* self = current;
  Warp& warp = warps[self->linear / kWarpSize];
  const int first = self->linear - self->lane;
  const uint32_t members = mask & warp.present;
  if (!(mask >> self->lane & 1)) fail(text("line %d: lane %d calls a warp collective whose mask %08x does not name it", line, self->lane, mask));
  if (members & warp.done) fail(text("line %d: the mask %08x of a warp collective names lane %d, which has ended", line, mask, __builtin_ctz(members & warp.done)));
  auto entry = std::find_if(warp.collectives.begin(), warp.collectives.end(), [mask](const Collective& c) { return c.mask == mask; });
  if (entry == warp.collectives.end()) {
    warp.collectives.push_back({mask, 0, operation, line, {}});
    entry = std::prev(warp.collectives.end());
  }
  if (entry->operation != operation) fail(text("lanes of one mask %08x meet in different collectives: lines %d and %d", mask, entry->line, line));
  for (const auto& other : warp.collectives) {
    if (other.mask != mask && (other.mask & mask & other.arrived)) fail(text("line %d: masks %08x and %08x of waiting collectives overlap", line, mask, other.mask));
  }
  entry->slots[self->lane] = slot;
  entry->arrived |= 1u << self->lane;
  if ((entry->arrived & members) != members) {
    yield(ThreadState::atCollective, "a warp collective", line);
    return;
  }
  grid.counters.collectives++;
  if (execute != nullptr) execute(entry->slots, members, state);
  warp.collectives.erase(entry);
  if (members == warp.present) warp.requests.flush(grid.counters);
  for (uint32_t others = members & ~(1u << self->lane); others != 0; others &= others - 1) wake(first + __builtin_ctz(others));
}

void Block::waitForDependency() {
  if (!grid.dependencyDone) yield(ThreadState::atDependencyWait, "the wait for the kernel in front", 0);
}

void Block::spin(std::function<bool()> until, int line) {
  if (!grid.config.cooperative) fail(text("line %d: a wait for other blocks, which only a cooperative launch may have: they need not run at once", line));
  if (until()) return;
  current->spinUntil = std::move(until);
  yield(ThreadState::spinning, "a wait for another block", line);
}

void Block::clusterBarrier(int line) {
  if (grid.config.cluster == 1) fail(text("line %d: a barrier of a cluster in a launch that has none", line));
  if (std::find(cluster_->blocks.begin(), cluster_->blocks.end(), nullptr) != cluster_->blocks.end()) fail(text("line %d: a barrier of a cluster of which a block has ended", line));
  const size_t opened = cluster_->opened;
  if (++cluster_->arrived == grid.config.cluster * threads.size()) {
    cluster_->arrived = 0;
    cluster_->opened++;
    grid.counters.barriers++;
    return;
  }
  current->spinUntil = [cluster = cluster_.get(), opened] { return cluster->opened != opened; };
  yield(ThreadState::spinning, "a barrier of the cluster", line);
}

const void* Block::peerShared(const void* own, unsigned rank, int line) {
  const size_t offset = static_cast<const char*>(own) - shared;
  if (offset >= sharedUsed_) fail(text("line %d: an address outside of shared memory is read in another block", line));
  if (rank >= cluster_->blocks.size() || cluster_->blocks[rank] == nullptr) fail(text("line %d: shared memory of block %u of the cluster, which is not there or has ended", line, rank));
  if (offset >= cluster_->blocks[rank]->sharedUsed_) fail(text("line %d: shared memory of block %u of the cluster, which it does not have yet: there is no barrier of the cluster in between", line, rank));
  return cluster_->blocks[rank]->shared + offset;
}

void Block::spinOnPeer(std::function<bool()> until, int line) {
  if (!grid.config.meetsPeers) fail(text("line %d: a wait for another device in a launch that does not say so", line));
  if (grid.config.grid.count() > grid.capacity())
    fail(text("line %d: a grid of %zu blocks waits for another device and does not fit the chip at once, which holds %zu", line, static_cast<size_t>(grid.config.grid.count()), grid.capacity()));
  if (until()) return;
  current->spinUntil = std::move(until);
  yield(ThreadState::spinning, "a wait for another device", line);
}

void* Block::staticShared(const void* site, size_t bytes, size_t alignment) {
  for (const auto& s : staticShared_) {
    if (s.site == site) return shared + s.offset;
  }
  const size_t offset = (sharedUsed_ + alignment - 1) / alignment * alignment;
  if (offset + bytes > kMaxSharedBytes)
    fail(text("shared memory: %zu bytes asked for, %zu are there", offset + bytes, kMaxSharedBytes));
  staticBytes_ += bytes;
  if (const size_t used = grid.config.dynamicSharedBytes + staticBytes_; used > grid.config.sharedLimit)
    fail(text("shared memory: %zu bytes dynamic and static, the launch asked for no more than %zu", used, grid.config.sharedLimit));
  sharedUsed_ = offset + bytes + 32;  // a gap, poisoned under AddressSanitizer
  staticShared_.push_back({site, offset});
  EMU_UNPOISON(shared + offset, bytes);
  std::memset(shared + offset, kPoisonByte, bytes);
  return shared + offset;
}

void Block::fail(const std::string& message) {
  grid.error = text("block (%u,%u,%u), thread %d: ", blockIdx.x, blockIdx.y, blockIdx.z, current->linear) + message;
  fiberSwitch(current->fiber, scheduler_);  // does not return: the grid is abandoned after a fault; see finish()
}

}  // namespace emu
