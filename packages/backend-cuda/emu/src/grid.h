// The execution model: threads in warps in blocks in a grid, scheduled on one processor thread.
//
// A block's threads run as fibers until each is done or waits (barrier, warp collective, dependency wait, spin). Several
// blocks are resident at once, as many as the emulated chip holds. Order of lanes, warps and blocks can be shuffled: a
// correct kernel gives the same bits in every order.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "counters.h"
#include "fiber.h"
#include "warpgroup.h"

namespace emu {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};

constexpr int kWarpSize = 32;
constexpr uint32_t kFull = 0xffffffffu;
constexpr int kNamedBarriers = 16;
constexpr size_t kMaxSharedBytes = 227 * 1024;
constexpr unsigned kMaxGridYZ = 65535;

enum class Order { forward, reverse, shuffled };

// The emulated chip. Set through emuSetChip before the first launch of a test.
struct Chip {
  int smCount = 4;
  int blocksPerSm = 2;
  Order order = Order::forward;
  uint64_t seed = 0;
  // Shared memory that a block may have.
  size_t sharedBytes = kMaxSharedBytes;
};
Chip& chip();
// Compute capability 9 came with both: more shared memory to a block than an A100 has, and clusters of blocks.
inline bool hasClusters() { return chip().sharedBytes > 163 * 1024; }
constexpr unsigned kMaxClusterBlocks = 8;

enum class ThreadState : uint8_t { ready, atBarrier, atCollective, atDependencyWait, spinning, done };

class Block;

// One asynchronous 16-byte copy to shared memory that has been issued and not yet waited for.
struct AsyncCopy {
  void* destination;
  const void* source;
  int bytes;       // of the destination
  int validBytes;  // the rest becomes zero
  int group;       // -1 until committed
};

// What a switch touches comes first, in one cache line.
struct alignas(64) Thread {
  Fiber fiber;
  Block* block = nullptr;
  ThreadState state = ThreadState::ready;
  int lane = 0;
  int linear = 0;
  Dim3 threadIdx;
  int waitingLine = 0;
  const char* waitingAt = "";
  std::function<bool()> spinUntil;
  std::vector<AsyncCopy> copies;
  int committedGroups = 0;
};

// A warp collective in progress: the lanes of `mask` that have arrived.
struct Collective {
  uint32_t mask = 0;
  uint32_t arrived = 0;
  int operation = 0;
  int line = 0;
  void* slots[kWarpSize] = {};
};

struct Warp {
  // Lanes that exist, and lanes that have ended.
  uint32_t present = 0, done = 0;
  std::vector<Collective> collectives;
  RequestLog requests;
};

struct NamedBarrier {
  int expected = 0;
  int arrived = 0;
  int line = -1;
  std::vector<int> waiting;
};

// SplitMix64 (Steele, Lea and Flood 2014): orders need to differ, and one is drawn at every switch.
class Random {
 public:
  using result_type = uint64_t;
  explicit Random(uint64_t seed) : state_(seed) {}
  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return ~uint64_t{0}; }
  uint64_t operator()() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  // An index below n < 2^32.
  size_t below(size_t n) { return ((*this)() >> 32) * n >> 32; }

 private:
  uint64_t state_;
};

class Grid;
class Block;

// Neighbouring blocks of a grid that are resident together.
struct Cluster {
  // Null where a block has ended.
  std::vector<Block*> blocks;
  // Threads at its barrier, and how often that has opened.
  size_t arrived = 0, opened = 0;
};

class Block {
 public:
  Block(Grid& grid, Dim3 index, std::shared_ptr<Cluster> cluster);
  ~Block();

  // Runs until every thread is done or waits for something outside the block. Returns true when all are done.
  bool run();
  bool waitsForDependency() const;

  // Called on a thread's fiber.
  void barrier(int id, int count, int line);
  void collective(uint32_t mask, int operation, void* slot, int line, void (*execute)(void** slots, uint32_t lanes, void* state), void* state);
  void waitForDependency();
  void spin(std::function<bool()> until, int line);
  // The same for what another device does; the chip goes on to that when nothing else moves here.
  void spinOnPeer(std::function<bool()> until, int line);
  void* staticShared(const void* site, size_t bytes, size_t alignment);
  // A barrier of all threads of the cluster.
  void clusterBarrier(int line);
  // Where in the shared memory of block `rank` of the cluster what lies at `own` lies in this one's.
  const void* peerShared(const void* own, unsigned rank, int line);
  // Does not return; see finish().
  void fail(const std::string& message);

  Grid& grid;
  Dim3 blockIdx;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  char* shared = nullptr;
  size_t dynamicSharedBytes = 0;
  // Null in a block that has not used wgmma or fence.proxy.async yet.
  std::unique_ptr<BlockProducts> products;

 private:
  static void threadMain(void* thread);
  void makeThreads();
  void yield(ThreadState state, const char* what, int line);
  void switchFrom(Thread& self);
  void wake(int linear);
  int nextReady();
  bool pollSpinning();
  void finish(Thread& thread);
  void checkBarrierAgainstExit();

  std::shared_ptr<Cluster> cluster_;
  std::vector<int> ready_;
  size_t readyHead_ = 0;
  Fiber scheduler_;
  NamedBarrier barriers_[kNamedBarriers];
  struct StaticShared {
    const void* site;
    size_t offset;
  };
  std::vector<StaticShared> staticShared_;
  size_t staticBytes_ = 0;
  size_t sharedUsed_ = 0;
  int done_ = 0;
};

struct LaunchConfig {
  const char* name = "kernel";
  Dim3 grid, block;
  size_t dynamicSharedBytes = 0;
  bool cooperative = false;
  // Programmatic dependent launch: may start before the kernel in front of it has finished.
  bool programmatic = false;
  // Bytes of shared memory, dynamic and static, that the launch may use.
  size_t sharedLimit = chip().sharedBytes;
  // It waits for kernels of other devices.
  bool meetsPeers = false;
  // Blocks along x of a cluster.
  unsigned cluster = 1;
  // What the launching thread was at work on, for reports.
  std::string operation = {};
};

// A launched kernel: its resident blocks, and the ones still to come.
class Grid {
 public:
  Grid(LaunchConfig config, std::function<void()> body);
  ~Grid();

  // Runs until finished; with `stopAtDependency`, until all resident blocks wait for the kernel in front. A grid that meets peers
  // also returns when nothing moves any more, and may be run again.
  void run(bool stopAtDependency = false);
  // Blocks that are resident at once.
  size_t capacity() const { return capacity_; }
  bool finished() const { return resident_.empty() && next_ == order_.size(); }
  // The kernel in front is complete: dependency waits may pass.
  void releaseDependency() { dependencyDone = true; }

  LaunchConfig config;
  std::function<void()> body;
  bool dependencyDone = true;
  KernelCounters& counters;
  std::string error;
  const Order order;
  Random random;

 private:
  void admit();
  size_t runFrom(size_t first);
  std::vector<uint64_t> order_;
  size_t next_ = 0;
  size_t capacity_ = 1;
  int idleRounds_ = 0;
  std::vector<std::unique_ptr<Block>> resident_;
};

// What this host thread is at work on. Every launch remembers it.
extern thread_local std::string operation;

// Blocks of a cluster of the kernels that this host thread launches.
extern thread_local unsigned clusterBlocks;

// Whether the kernels that this host thread launches wait for kernels of other devices.
extern thread_local bool meetsPeers;

// The thread whose fiber runs now. Read at every index and every wait: with this model that is one instruction in a shared library
// too, for eight bytes of the room that loaders keep.
extern thread_local Thread* current __attribute__((tls_model("initial-exec")));

// Thrown to the host by Grid::run when a kernel breaks a rule of the model; the message says where and how.
struct KernelFault {
  std::string message;
  std::string operation;
};

}  // namespace emu
