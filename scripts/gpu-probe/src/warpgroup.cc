// Products of warpgroups: whether registers and shared memory are laid out as the emulator and kernels/lib/wgmma.h have them. Factors
// are small integers, so that sums are exact in any order.
#include "stages.h"
#include "warpgroup-kernels.h"
#if defined(EMU)
#include "emu/src/warpgroup.h"
#endif

namespace {

constexpr int kRows = 64, kDepth = 64, kMost = 8;

uint16_t bitsOf(Half type, int value) {
  if (value == 0) return 0;
  const uint32_t magnitude = value < 0 ? -value : value;
  int exponent = 31 - __builtin_clz(magnitude);
  const int bits = type == Half::f16 ? 10 : 7;
  return halfBits(type, value < 0, exponent, (magnitude - (1u << exponent)) << (bits - exponent));
}

// Between -kMost and kMost.
std::vector<int> integers(size_t n, uint64_t seed) {
  Random random{seed};
  std::vector<int> all(n);
  for (int& value : all) value = static_cast<int>(random.below(2 * kMost + 1)) - kMost;
  return all;
}
std::vector<uint16_t> bitsOf(Half type, const std::vector<int>& values) {
  std::vector<uint16_t> bits;
  for (const int value : values) bits.push_back(bitsOf(type, value));
  return bits;
}

// How many elements are wrong.
int check(const Probe& probe, Half type, WarpgroupForm form) {
  const bool shared = form == WarpgroupForm::shared128;
  const int n = form == WarpgroupForm::registers64 ? 64 : 128;
  const std::vector<int> a = integers(kRows * kDepth, 1), b = integers(static_cast<size_t>(kDepth) * n, 2);
  DeviceArray<uint16_t> onDeviceA(bitsOf(type, a)), onDeviceB(bitsOf(type, b));
  DeviceArray<float> out(static_cast<size_t>(kRows) * n);
  enqueueProduct(probe, type, form, onDeviceA.data, onDeviceB.data, out.data);
  const std::vector<float> d = out.read(probe.stream);
  int wrong = 0;
  std::string first;
  for (int row = 0; row < kRows; row++) {
    for (int column = 0; column < n; column++) {
      int sum = 0;
      for (int k = 0; k < kDepth; k++) sum += a[row * kDepth + k] * b[shared ? column * kDepth + k : k * n + column];
      const float found = d[row * n + column];
      if (found == static_cast<float>(sum)) continue;
      if (wrong++ == 0) first = format("row %d, column %d: %g, expected %d", row, column, found, sum);
    }
  }
  probe.line("product").put("type", nameOf(type)).put("a", shared ? "shared memory" : "registers").put("n", n).put("elements", kRows * n).put("wrong", wrong).put("first", first).emit();
  return wrong;
}

}  // namespace

void warpgroupStage(const Probe& probe) {
#if defined(EMU)
  emu::hasWarpgroupProducts() = true;
#endif
  if (probe.capability != 90) return probe.headline(format("compute capability %d has no warpgroup products", probe.capability));
  int wrong = 0;
  for (const Half type : {Half::f16, Half::bf16}) {
    for (const auto form : {WarpgroupForm::shared128, WarpgroupForm::registers64, WarpgroupForm::registers128}) wrong += check(probe, type, form);
  }
  if (wrong > 0) throw std::runtime_error(std::to_string(wrong) + " elements of warpgroup products are wrong: matrix descriptors or fragments are not laid out as in kernels/lib/wgmma.h");
  probe.headline("warpgroup products are laid out as in kernels/lib/wgmma.h");
}
