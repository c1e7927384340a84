// Fibers: one stack per CUDA thread, switched by hand.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emu {

// A suspended flow of control. The stack belongs to a StackPool and is reused from block to block.
struct Fiber {
  void* stackPointer = nullptr;
  char* stack = nullptr;
};

constexpr size_t kStackBytes = 64 * 1024;

// Hands out stacks with a guard page below each, and keeps them for the next block.
class StackPool {
 public:
  ~StackPool();
  char* take(int lane);
  void give(char* stack);

 private:
  char* free_ = nullptr;
};

// Prepares `fiber` to call entry(argument) on its stack at the first switch. entry must never return.
// `colour` staggers the top of the stack, so that the hot frames of many fibers do not share one cache set.
void fiberPrepare(Fiber& fiber, int colour, void (*entry)(void*), void* argument);

// Saves the caller in `from` and continues `to`.
void fiberSwitch(Fiber& from, Fiber& to);

}  // namespace emu
