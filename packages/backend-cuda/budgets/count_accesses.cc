// count_accesses SMS BYTES (as record_launches) executes the cases of a chip, small, on the emulator and prints a line of JSON for each: the traffic of device memory, and how many
// bytes of asynchronous copies a block has in flight at most.
//
// The kernels are compiled with -fsanitize=thread and linked without its library: the compiler calls the functions below for
// every access to memory, whether the kernel wraps it or not. Asynchronous copies are met at their issue, by the linker's --wrap.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "cases.h"
#include "cuda_runtime.h"
// Names of members here.
#undef blockIdx

namespace {

using budgets::Traffic;
constexpr uintptr_t kSector = 32;

struct Use {
  std::vector<bool> sectors;
  double requested = 0;
  void note(uintptr_t offset, size_t bytes) {
    requested += bytes;
    for (uintptr_t s = offset / kSector; s <= (offset + bytes - 1) / kSector; s++) sectors[s] = true;
  }
  double bytes(Traffic traffic) const {
    const double distinct = kSector * std::count(sectors.begin(), sectors.end(), true);
    return traffic == Traffic::streamed ? std::max(requested, distinct) : distinct;
  }
};
struct Region {
  uintptr_t begin, end;
  Traffic traffic;
  Use reads, writes;
  void clear() { reads = writes = {std::vector<bool>((end - begin) / kSector + 1), 0}; }
};

// By their ends, for the search.
std::map<uintptr_t, Region>& regions() {
  static std::map<uintptr_t, Region> all;
  return all;
}
// Most accesses are to a stack, or to where the last one was.
Region* regionOf(uintptr_t address) {
  static Region* last = nullptr;
  if (last != nullptr && address >= last->begin && address < last->end) return last;
  const auto found = regions().upper_bound(address);
  if (found == regions().end() || address < found->second.begin) return nullptr;
  return last = &found->second;
}

bool counting = false;
void note(const void* pointer, size_t bytes, bool write) {
  if (!counting) return;
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  Region* region = regionOf(address);
  if (region != nullptr) (write ? region->writes : region->reads).note(address - region->begin, bytes);
}

// By block and thread: the most copies that it had in flight, and their bytes, but of cached memory.
struct InFlight {
  size_t copies = 0;
  double bytes = 0;
};
std::map<uint64_t, std::vector<InFlight>> inFlight;
void noteInFlight() {
  const emu::Thread& t = *emu::current;
  const auto& grid = t.block->grid.config.grid;
  auto& threads = inFlight[t.block->blockIdx.x + uint64_t{grid.x} * (t.block->blockIdx.y + uint64_t{grid.y} * t.block->blockIdx.z)];
  threads.resize(t.block->threads.size());
  InFlight& most = threads[t.linear];
  if (t.copies.size() <= most.copies) return;
  most = {t.copies.size(), 0};
  for (const auto& copy : t.copies) {
    const Region* region = regionOf(reinterpret_cast<uintptr_t>(copy.source));
    if (region != nullptr && region->traffic != Traffic::cached) most.bytes += copy.validBytes;
  }
}
double mostInFlight() {
  double most = 0;
  for (const auto& [block, threads] : inFlight) {
    double sum = 0;
    for (const InFlight& thread : threads) sum += thread.bytes;
    most = std::max(most, sum);
  }
  return most;
}

}  // namespace

namespace budgets {

void* allocate(size_t bytes, Traffic traffic) {
  void* memory = std::aligned_alloc(256, (bytes + 511) / 256 * 256);
  std::fill_n(static_cast<char*>(memory), bytes, 0);
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  Region& region = regions()[begin + bytes] = {begin, begin + bytes, traffic, {}, {}};
  region.clear();
  return memory;
}
bool executes() { return true; }

}  // namespace budgets

extern "C" {
#define ACCESS(size)                                                          \
  void __tsan_read##size(void* p) { note(p, size, false); }                   \
  void __tsan_write##size(void* p) { note(p, size, true); }                   \
  void __tsan_unaligned_read##size(void* p) { note(p, size, false); }         \
  void __tsan_unaligned_write##size(void* p) { note(p, size, true); }
ACCESS(1) ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16)
#undef ACCESS
void __tsan_read_range(void* p, unsigned long bytes) { note(p, bytes, false); }
void __tsan_write_range(void* p, unsigned long bytes) { note(p, bytes, true); }
// The guard of a static variable.
char __tsan_atomic8_load(const volatile char* p, int) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
void __tsan_vptr_update(void*, void*) {}
void __tsan_vptr_read(void*) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}

// emu::asyncCopy(void*, const void*, int, int)
void __real__ZN3emu9asyncCopyEPvPKvii(void* destination, const void* source, int bytes, int validBytes);
void __wrap__ZN3emu9asyncCopyEPvPKvii(void* destination, const void* source, int bytes, int validBytes) {
  __real__ZN3emu9asyncCopyEPvPKvii(destination, source, bytes, validBytes);
  if (validBytes > 0) note(source, validBytes, false);
  noteInFlight();
}
}

int main(int, char** arguments) {
  emu::chip() = {budgets::kEmulatedSms, 2, emu::Order::forward, 0, static_cast<size_t>(std::atoi(arguments[2]))};
  emu::hasWarpgroupProducts() = true;
  for (const budgets::Case& c : budgets::makeCases(budgets::Scale::small, std::atoi(arguments[1]))) {
    for (auto& [end, region] : regions()) region.clear();
    inFlight.clear();
    counting = true;
    int error = c.launch(budgets::kEmulatedSms);
    if (error == 0) error = cudaDeviceSynchronize();
    counting = false;
    double moved = 0, requested = 0;
    for (const auto& [end, r] : regions()) {
      moved += r.reads.bytes(r.traffic) + r.writes.bytes(r.traffic);
      requested += r.reads.requested + r.writes.requested;
    }
    std::printf(R"({"kernel":"%s","shape":"%s","bytes":%.0f,"error":%d,"moved":%.0f,"requested":%.0f,"asyncInFlight":%.0f})" "\n", c.kernel.c_str(), c.shape.c_str(), c.bytes, error, moved, requested,
                mostInFlight());
  }
}
