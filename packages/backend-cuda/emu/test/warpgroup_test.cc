// Products of warpgroups against plain loops, and their planted bugs, each with the sentence that names it.
#include <cmath>
#include <string>
#include <vector>

#include "warpgroup.h"

namespace {

template <class T>
T* allocate(size_t n) {
  T* data = nullptr;
  cudaMalloc(reinterpret_cast<void**>(&data), n * sizeof(T));
  return data;
}

// What is reported in the given order of threads; empty where nothing is. NaN in `out` is a report too.
template <class Launch>
std::string reported(Launch launch, emu::Order order, const float* out, int n) {
  cudaDeviceReset();
  emu::chip().order = order;
  const bool failed = launch() != cudaSuccess || cudaDeviceSynchronize() != cudaSuccess;
  emu::chip().order = emu::Order::forward;
  std::string report = failed ? emu::lastFault() : "";
  for (int i = 0; i < n && !failed; i++) if (std::isnan(out[i])) report = "NaN";
  cudaDeviceReset();
  return report;
}
template <class Launch>
bool always(Launch launch, const char* sentence, const float* out, int n) {
  bool all = true;
  for (const auto order : {emu::Order::forward, emu::Order::reverse, emu::Order::shuffled}) {
    const std::string report = reported(launch, order, out, n);
    all &= *sentence == '\0' ? report.empty() : report.find(sentence) != std::string::npos;
  }
  return all;
}

template <class T, class From, class To>
void products(Check check, const char* type, From from, To to) {
  constexpr int kDepth = 64;
  T *a = allocate<T>(64 * kDepth), *b = allocate<T>(128 * kDepth);
  float* out = allocate<float>(64 * 128);
  for (int i = 0; i < 64 * kDepth; i++) a[i] = from(std::sin(i * 0.7f));
  for (int i = 0; i < 128 * kDepth; i++) b[i] = from(std::cos(i * 1.3f));
  auto worst = [&](int n, auto element) {
    double most = 0;
    for (int row = 0; row < 64; row++) {
      for (int column = 0; column < n; column++) {
        double sum = 0;
        for (int k = 0; k < kDepth; k++) sum += static_cast<double>(to(a[row * kDepth + k])) * to(b[element(k, column)]);
        most = std::fmax(most, std::fabs(sum - out[row * n + column]));
      }
    }
    return most;
  };
  auto shared = [&](WarpgroupBug bug) { return [=] { return launchSharedProduct<T>(bug, a, b, out, nullptr); }; };
  auto registers = [&](WarpgroupBug bug, int n) { return [=] { return launchRegisterProduct<T>(bug, a, b, out, n, nullptr); }; };
  const std::string of = std::string(", ") + type;
  check(always(shared(WarpgroupBug::none), "", out, 64 * 128), ("wgmma with both operands in shared memory reports nothing" + of).c_str());
  check(worst(128, [](int k, int column) { return column * kDepth + k; }) < 1e-5, ("wgmma with both operands in shared memory" + of).c_str());
  for (const int n : {64, 128}) {
    check(always(registers(WarpgroupBug::none, n), "", out, 64 * n), ("wgmma with A in registers reports nothing, " + std::to_string(n) + of).c_str());
    check(worst(n, [n](int k, int column) { return k * n + column; }) < 1e-5, ("wgmma with A in registers, " + std::to_string(n) + of).c_str());
  }
  const struct { WarpgroupBug bug; const char* sentence; } inShared[] = {
      {WarpgroupBug::missingProxyFence, "no fence.proxy.async"}, {WarpgroupBug::oneMissingProxyFence, "no fence.proxy.async"}, {WarpgroupBug::missingBarrier, "no fence.proxy.async"},
      {WarpgroupBug::operandOverwritten, "B in shared memory changed between the product and wgmma.wait_group"}, {WarpgroupBug::operandOutside, "reaches byte"}, {WarpgroupBug::misaligned, "multiple of 1024"},
      {WarpgroupBug::missingFence, "without wgmma.fence"}, {WarpgroupBug::accumulatorRead, "NaN"}, {WarpgroupBug::accumulatorWritten, "accumulators were written between"},
      {WarpgroupBug::missingCommit, "never waited for"}, {WarpgroupBug::missingWait, "never waited for"}, {WarpgroupBug::otherProducts, "another product than the other warps"},
      {WarpgroupBug::divergentLanes, "different collectives"}};
  for (const auto& [bug, sentence] : inShared) check(always(shared(bug), sentence, out, bug == WarpgroupBug::accumulatorRead ? 128 : 0), (std::string("wgmma, planted: ") + sentence + of).c_str());
  const struct { WarpgroupBug bug; const char* sentence; } inRegisters[] = {
      {WarpgroupBug::missingFence, "without wgmma.fence"}, {WarpgroupBug::accumulatorWrittenBehindFence, "accumulators were written behind the wgmma.fence"}, {WarpgroupBug::registersOfAOverwritten, "registers of A changed"}};
  for (const auto& [bug, sentence] : inRegisters) check(always(registers(bug, 128), sentence, out, 0), (std::string("wgmma, planted: ") + sentence + of).c_str());
  for (void* memory : {static_cast<void*>(a), static_cast<void*>(b), static_cast<void*>(out)}) cudaFree(memory);
}

}  // namespace

void testWarpgroups(Check check) {
  auto *a = allocate<__half>(64 * 64), *b = allocate<__half>(128 * 64);
  float* out = allocate<float>(64 * 128);
  check(always([&] { return launchSharedProduct<__half>(WarpgroupBug::none, a, b, out, nullptr); }, "a chip that has none", out, 0), "a chip without wgmma");
  emu::hasWarpgroupProducts() = true;
  products<__half>(check, "half", __float2half_rn, __half2float);
  products<__nv_bfloat16>(check, "bfloat16", __float2bfloat16_rn, __bfloat162float);
  emu::hasWarpgroupProducts() = false;
  for (void* memory : {static_cast<void*>(a), static_cast<void*>(b), static_cast<void*>(out)}) cudaFree(memory);
}
