// wgmma: products of a warpgroup, 128 threads, that run beside them on operands in shared memory (PTX ISA 9.0, 9.7.15). For
// kernels/lib/wgmma.h.
//
// A product takes effect at the wait that requires it, and not before: until then its accumulators hold NaN bits. What a kernel
// may not touch meanwhile is compared at that wait: accumulators, registers of A, operands in shared memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

struct __half;

namespace emu {

class Block;

// Whether the chip has wgmma: at first it does not.
bool& hasWarpgroupProducts();

enum class ElementKind { half, bfloat16 };
template <class T>
constexpr ElementKind elementKind = __is_same(T, __half) ? ElementKind::half : ElementKind::bfloat16;

// What all threads of a warpgroup agree on: D (64 x n) = A (64 x 16) B (16 x n), plus D where it accumulates.
struct ProductKind {
  ElementKind element;
  int n;
  // A's 16 columns of a row lie next to each other (K-major); so do those of a column of B, or else B's n of a row (N-major).
  bool aInRegisters, bIsNMajor, accumulates;
  // Matrix descriptors.
  uint64_t a, b;
  bool operator==(const ProductKind& o) const {
    return element == o.element && n == o.n && aInRegisters == o.aInRegisters && bIsNMajor == o.bIsNMajor && accumulates == o.accumulates && a == o.a && b == o.b;
  }
};

// Registers that an instruction names, of each lane of a warp; an array's address stands for them, which must outlive the waits.
struct Registers {
  uint32_t* lanes[32];
  int words;
  bool operator<(const Registers& o) const { return lanes[0] < o.lanes[0]; }
  std::vector<uint32_t> read() const;
  void write(const std::vector<uint32_t>& values) const;
};

// Of one warp: its quarter of the products, 16 rows.
class WarpProducts {
 public:
  void fence();
  void issue(const ProductKind& kind, const Registers& d, const Registers& a);
  void commit();
  void wait(int groupsLeft);
  bool idle() const { return pending_.empty(); }

 private:
  struct Product {
    ProductKind kind;
    Registers d, a;
    // At the issue.
    std::vector<uint32_t> aRegisters;
    std::vector<uint16_t> aShared, bShared;
    // -1 until committed.
    int group;
  };
  void checkFence(const Registers& registers, const char* what) const;
  void complete(const Product& product);
  void deliver(const Registers& d);

  std::vector<Product> pending_;
  // What the accumulators of pending products hold so far.
  std::map<Registers, std::vector<uint32_t>> accumulators_;
  // Registers that products have named, with their values at the last fence.
  std::map<Registers, std::vector<uint32_t>> atFence_;
  bool fenced_ = false;
  int committed_ = 0;
};

// Of one block: what its warpgroups have issued, and shared memory as products see it.
class BlockProducts {
 public:
  explicit BlockProducts(Block& block);
  WarpProducts& ofWarp(int warp) { return warps_[warp]; }
  // The four warps of a warpgroup issue the same products in the same order.
  void note(int warp, const ProductKind& kind);
  void warpEnds(int warp);

  // What a thread has written is seen once it has called fence() and then met the others at a barrier. Of what it copied with
  // cp.async that is known for each thread; of the rest, that some thread called fence().
  void fence(int thread);
  void noteCopy(int thread, void* destination, int bytes);
  void barrierPassed(const std::vector<int>& threads, int last);

  // 16-byte units of shared memory, by their offsets.
  std::vector<uint16_t> read(const std::vector<uint32_t>& offsets) const;
  // Fails where products see something else there than threads.
  void checkSeen(const std::vector<uint32_t>& offsets, const char* operand) const;

 private:
  struct Range {
    size_t offset, bytes;
  };
  struct ThreadState {
    bool fenced = false;
    std::vector<Range> copied;
  };
  Block& block_;
  std::vector<WarpProducts> warps_;
  std::vector<std::vector<ProductKind>> issued_;
  std::vector<size_t> count_;
  std::vector<ThreadState> threads_;
  std::vector<char> seen_;
};

// The instructions, called by each thread. d: n / 2 floats; a: four registers, or null.
void wgmmaFence();
void wgmmaCommit();
void wgmmaWait(int groupsLeft);
void wgmmaIssue(const ProductKind& kind, float* d, const uint32_t* a);
void fenceProxyAsync();
// Of a pointer into the block's shared memory, as descriptors hold it.
uint32_t sharedAddress(const void* pointer);

}  // namespace emu
