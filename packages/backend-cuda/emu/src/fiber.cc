#include "fiber.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "sanitizer.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emu {

namespace {
constexpr size_t kGuardBytes = 4096;
// Each guard page splits a mapping in two, and a process may have some 65,000 mappings: a large chip has stacks without one.
constexpr int kGuardedStacks = 16384;

char* mapStack() {
  void* base = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    std::fprintf(stderr, "emulator: no memory for a thread stack of %zu bytes\n", kStackBytes);
    std::abort();
  }
  static std::atomic<int> mapped{0};
  if (mapped++ < kGuardedStacks) mprotect(base, kGuardBytes, PROT_NONE);
  return static_cast<char*>(base) + kGuardBytes;
}
}  // namespace

// A free stack holds the pointer to the next free one in its first word.
char* StackPool::take(int) {
  if (free_ == nullptr) return mapStack();
  char* stack = free_;
  free_ = *reinterpret_cast<char**>(stack);
  return stack;
}

// Frames of a thread that never returned leave their red zones behind.
void StackPool::give(char* stack) {
  EMU_UNPOISON(stack, kStackBytes);
  *reinterpret_cast<char**>(stack) = free_;
  free_ = stack;
}

StackPool::~StackPool() {
  while (free_ != nullptr) {
    char* next = *reinterpret_cast<char**>(free_);
    munmap(free_ - kGuardBytes, kStackBytes + kGuardBytes);
    free_ = next;
  }
}

#if defined(__x86_64__)

// Saves the six callee-saved registers of the System V ABI, swaps stacks, restores. rdi: where to store the old stack
// pointer; rsi: the new one.
asm(R"(
  .text
  .p2align 4
  .type emu_switch_stack, @function
emu_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size emu_switch_stack, .-emu_switch_stack
  .p2align 4
  .type emu_fiber_start, @function
emu_fiber_start:
  movq %r12, %rdi
  callq *%r13
  ud2
  .size emu_fiber_start, .-emu_fiber_start
)");
extern "C" void emu_switch_stack(void** save, void* load);
extern "C" void emu_fiber_start();

void fiberPrepare(Fiber& fiber, int colour, void (*entry)(void*), void* argument) {
  const size_t offset = (static_cast<size_t>(colour) * 576) % 4096 & ~size_t{15};
  auto** top = reinterpret_cast<void**>(fiber.stack + kStackBytes - offset);
  *--top = nullptr;  // two words keep the stack 16-byte aligned at the call in emu_fiber_start
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&emu_fiber_start);
  *--top = nullptr;                            // rbp
  *--top = nullptr;                            // rbx
  *--top = argument;                           // r12
  *--top = reinterpret_cast<void*>(entry);     // r13
  *--top = nullptr;                            // r14
  *--top = nullptr;                            // r15
  fiber.stackPointer = top;
}

void fiberSwitch(Fiber& from, Fiber& to) { emu_switch_stack(&from.stackPointer, to.stackPointer); }

#else

namespace {
struct Context {
  ucontext_t context;
  void (*entry)(void*);
  void* argument;
};
void start(unsigned high, unsigned low) {
  auto* c = reinterpret_cast<Context*>((static_cast<uintptr_t>(high) << 32) | low);
  c->entry(c->argument);
}
Context* contextOf(Fiber& fiber) {
  if (fiber.stackPointer == nullptr) fiber.stackPointer = new Context;  // lives as long as the process: one per fiber slot
  return static_cast<Context*>(fiber.stackPointer);
}
}  // namespace

void fiberPrepare(Fiber& fiber, int, void (*entry)(void*), void* argument) {
  Context* c = contextOf(fiber);
  c->entry = entry;
  c->argument = argument;
  getcontext(&c->context);
  c->context.uc_stack.ss_sp = fiber.stack;
  c->context.uc_stack.ss_size = kStackBytes;
  c->context.uc_link = nullptr;
  const auto address = reinterpret_cast<uintptr_t>(c);
  makecontext(&c->context, reinterpret_cast<void (*)()>(start), 2, static_cast<unsigned>(address >> 32), static_cast<unsigned>(address));
}

void fiberSwitch(Fiber& from, Fiber& to) { swapcontext(&contextOf(from)->context, &contextOf(to)->context); }

#endif

}  // namespace emu
