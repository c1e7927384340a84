// The emulator's own tests: correct kernels give the same bits in every order, and each planted bug is caught.
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "../../kernels/lib/launch_mode.h"
#include "ipc_test.h"
#include "kernels.h"
#include "warpgroup.h"

namespace {
int passed = 0, failed = 0;

void check(bool ok, const std::string& what) {
  ok ? passed++ : failed++;
  if (!ok) std::printf("FAILED %s\n", what.c_str());
}

template <class T>
struct DeviceArray {
  explicit DeviceArray(size_t n) : count(n) { cudaMalloc(reinterpret_cast<void**>(&data), n * sizeof(T)); }
  ~DeviceArray() { cudaFree(data); }
  T* data = nullptr;
  size_t count;
};

bool anyNan(const float* x, size_t n) {
  for (size_t i = 0; i < n; i++) if (std::isnan(x[i])) return true;
  return false;
}

// Runs `body` under every order and returns whether a fault was reported, or the output holds NaN, in any of them.
bool caught(const std::function<cudaError_t(cudaStream_t)>& launch, const float* out, size_t n) {
  bool any = false;
  for (auto order : {emu::Order::forward, emu::Order::reverse, emu::Order::shuffled}) {
    cudaDeviceReset();
    emu::chip().order = order;
    cudaStream_t stream;
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    const bool fault = launch(stream) != cudaSuccess || cudaStreamSynchronize(stream) != cudaSuccess;
    any |= fault || anyNan(out, n);
    cudaStreamDestroy(stream);
  }
  cudaDeviceReset();
  emu::chip().order = emu::Order::forward;
  return any;
}

void rowSums() {
  constexpr int rows = 5, n = 300;
  DeviceArray<float> x(rows * n), out(rows);
  for (int i = 0; i < rows * n; i++) x.data[i] = static_cast<float>(i % 17) - 8;
  std::vector<float> first;
  for (int seed = 0; seed < 6; seed++) {
    emu::chip().order = seed < 2 ? static_cast<emu::Order>(seed) : emu::Order::shuffled;
    emu::chip().seed = seed;
    launchRowSum<Bug::none>(x.data, out.data, rows, n, nullptr);
    cudaDeviceSynchronize();
    if (first.empty()) first.assign(out.data, out.data + rows);
    check(std::equal(first.begin(), first.end(), out.data), "a correct kernel is bit-identical in order " + std::to_string(seed));
  }
  emu::chip().order = emu::Order::forward;
  float expected = 0;
  for (int i = 0; i < n; i++) expected += x.data[i];
  check(first[0] == expected, "row sum");
  check(caught([&](cudaStream_t s) { return launchRowSum<Bug::missingBarrier>(x.data, out.data, rows, n, s); }, out.data, rows), "missing barrier");
  check(caught([&](cudaStream_t s) { return launchRowSum<Bug::barrierInBranch>(x.data, out.data, rows, n, s); }, out.data, 0), "barriers in two branches");
  check(caught([&](cudaStream_t s) { return launchRowSum<Bug::divergentShuffle>(x.data, out.data, rows, n, s); }, out.data, 0), "shuffle in a divergent branch");
  DeviceArray<float> lanes(32);
  check(!caught([&](cudaStream_t s) { return launchEarlyExit(Bug::none, lanes.data, s); }, lanes.data, 32) && lanes.data[9] == 3, "shuffle of a full warp");
  check(caught([&](cudaStream_t s) { return launchEarlyExit(Bug::exitedLane, lanes.data, s); }, lanes.data, 0), "mask names lanes that have ended");
}

void sharedMemory() {
  DeviceArray<float> out(32);
  check(!caught([&](cudaStream_t s) { return launchCrowded(out.data, 36 * 1024, s); }, out.data, 32), "48 KiB of shared memory need no asking");
  check(!caught([&](cudaStream_t s) { return launchCrowded(out.data, 48 * 1024, s); }, out.data, 32), "a launch asks for more");
  check(caught([&](cudaStream_t s) { return launchTall(out.data, 65536, s); }, out.data, 0), "a grid taller than the chip allows");
  check(caught([&](cudaStream_t s) { return launchCrowded(out.data, 38 * 1024, s); }, out.data, 0), "static shared memory above what the launch asked for");
  emu::chip().sharedBytes = 96 * 1024;
  check(caught([&](cudaStream_t s) { return launchCrowded(out.data, 100 * 1024, s); }, out.data, 0), "more shared memory than a block of the chip may have");
  emu::chip().sharedBytes = emu::kMaxSharedBytes;
}

template <class T, class From, class To>
void products(const char* name, From from, To to) {
  constexpr int k = 64;
  DeviceArray<T> a(16 * k), b(8 * k);
  DeviceArray<float> c(128);
  for (int i = 0; i < 16 * k; i++) a.data[i] = from(std::sin(i * 0.7f));
  for (int i = 0; i < 8 * k; i++) b.data[i] = from(std::cos(i * 1.3f));
  launchTileProduct<T>(Bug::none, a.data, b.data, c.data, k, nullptr);
  cudaDeviceSynchronize();
  double worst = 0;
  for (int r = 0; r < 16; r++) {
    for (int col = 0; col < 8; col++) {
      double sum = 0;
      for (int i = 0; i < k; i++) sum += static_cast<double>(to(a.data[r * k + i])) * to(b.data[col * k + i]);
      worst = std::fmax(worst, std::fabs(sum - c.data[r * 8 + col]));
    }
  }
  check(worst < 1e-5, std::string("mma product, ") + name);
  check(caught([&](cudaStream_t s) { return launchTileProduct<T>(Bug::missingWait, a.data, b.data, c.data, k, s); }, c.data, 128), std::string("missing cp.async wait, ") + name);
}

void acrossBlocks() {
  DeviceArray<float> parts(100), out(100);
  DeviceArray<unsigned> counter(1);
  *counter.data = 0;
  for (auto order : {emu::Order::forward, emu::Order::reverse, emu::Order::shuffled}) {
    emu::chip().order = order;
    launchLastArriver(parts.data, counter.data, out.data, 100, nullptr);
    cudaDeviceSynchronize();
    check(out.data[0] == 5050 && *counter.data == 0, "the last block to arrive sums all parts");
  }
  emu::chip().order = emu::Order::forward;
  *counter.data = 0;
  launchNeighbours(Bug::none, parts.data, out.data, counter.data, 8, nullptr);
  check(cudaDeviceSynchronize() == cudaSuccess && out.data[7] == 0 && out.data[2] == 9 && parts.data[0] == -1, "grid barrier");
  *counter.data = 0;
  launchNeighbours(Bug::none, parts.data, out.data, counter.data, 9, nullptr);
  check(cudaDeviceSynchronize() == cudaErrorLaunchFailure && emu::lastFault().find("does not fit") != std::string::npos, "a cooperative grid above the chip's capacity is refused");
  cudaDeviceReset();
  *counter.data = 0;
  check(caught([&](cudaStream_t s) { return launchNeighbours(Bug::notCooperative, parts.data, out.data, counter.data, 2, s); }, out.data, 0), "a grid barrier in a launch that is not cooperative");

  DeviceArray<float> seen(8 * 64);
  for (int cluster : {1, 2, 4, 8}) {
    bool right = !caught([&](cudaStream_t s) { return launchClusters(cluster == 1 ? Bug::notInClusters : Bug::none, seen.data, 8, cluster, s); }, seen.data, cluster == 1 ? 0 : 512);
    for (int i = 0; i < 512; i++) right &= seen.data[i] == 1 + i / 64 / cluster * cluster * 64 + (i / 64 + 1) % cluster * 64 + i % 64;
    check(right == (cluster > 1), "blocks of a cluster of " + std::to_string(cluster) + " read each other's shared memory, and only those of a cluster");
  }
  check(caught([&](cudaStream_t s) { return launchClusters(Bug::missingClusterBarrier, seen.data, 8, 4, s); }, seen.data, 512), "missing barrier of a cluster");
  check(caught([&](cudaStream_t s) { return launchClusters(Bug::earlyEnd, seen.data, 8, 4, s); }, seen.data, 0), "a block ends while its cluster reads from it");
  check(caught([&](cudaStream_t s) { return launchClusters(Bug::none, seen.data, 6, 4, s); }, seen.data, 0), "clusters that do not divide the grid");
  emu::chip().sharedBytes = 163 * 1024;
  check(caught([&](cudaStream_t s) { return launchClusters(Bug::none, seen.data, 8, 4, s); }, seen.data, 0), "clusters on a chip that has none");
  emu::chip().sharedBytes = emu::kMaxSharedBytes;

  DeviceArray<float> data(128), tripled(128);
  quire::dependentLaunches = true;
  check(!caught([&](cudaStream_t s) { return launchPair(Bug::none, data.data, tripled.data, 4, s); }, tripled.data, 128) && tripled.data[127] == 6, "dependent launch waits");
  for (auto& array : {data.data, tripled.data}) for (int i = 0; i < 128; i++) array[i] = NAN;
  check(caught([&](cudaStream_t s) { for (int i = 0; i < 128; i++) data.data[i] = NAN; return launchPair(Bug::missingDependencyWait, data.data, tripled.data, 4, s); }, tripled.data, 128), "missing wait of a dependent launch");
  quire::dependentLaunches = false;
}

void graphs() {
  DeviceArray<float> x(128), out(1), copy(1);
  for (int i = 0; i < 128; i++) x.data[i] = 1;
  cudaStream_t stream;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  launchRowSum<Bug::none>(x.data, out.data, 1, 128, stream);
  cudaMemcpyAsync(copy.data, out.data, 4, cudaMemcpyDeviceToDevice, stream);
  check(cudaStreamSynchronize(stream) == cudaErrorStreamCaptureUnsupported, "synchronize while capturing is refused");
  cudaGraph_t graph;
  cudaStreamEndCapture(stream, &graph);
  check(std::isnan(out.data[0]), "capture records and does not run");
  check(emu::graphNodes(graph).kernels == 1 && emu::graphNodes(graph).copies == 1, "nodes of a graph are counted");
  cudaGraphExec_t exec;
  cudaGraphInstantiate(&exec, graph);
  cudaGraphDestroy(graph);
  for (int replay = 1; replay < 4; replay++) {
    x.data[0] = static_cast<float>(replay);
    cudaGraphLaunch(exec, stream);
    cudaStreamSynchronize(stream);
    check(copy.data[0] == 127 + replay, "replay reads what memory holds now");
  }
  cudaGraphExecDestroy(exec);
  cudaStreamDestroy(stream);
}

void counters() {
  DeviceArray<float> x(32 * 32), out(32);
  auto& c = emu::kernelCounters()["strided"];
  launchStrided(x.data, out.data, 1, nullptr);
  cudaDeviceSynchronize();
  check(c.loadRequests == 1 && c.loadSectors == 4 && c.loadBytes == 128, "a coalesced request of 32 floats is 4 sectors");
  c = {};
  launchStrided(x.data, out.data, 32, nullptr);
  cudaDeviceSynchronize();
  check(c.loadRequests == 1 && c.loadSectors == 32, "a request with a stride of 128 bytes is 32 sectors");
  const auto& pair = emu::kernelCounters()["twoRequests"];
  launchTwoRequests(x.data, out.data, nullptr);
  cudaDeviceSynchronize();
  check(pair.loadRequests == 2 && pair.loadSectors == 8, "requests on the two sides of a __syncwarp are two, whatever lanes take part");
  uintptr_t same[32], apart[32], row[32];
  for (int i = 0; i < 32; i++) same[i] = 0, apart[i] = i * 128, row[i] = i * 4;
  check(emu::conflictsOf(same, ~0u, 4) == 0 && emu::conflictsOf(row, ~0u, 4) == 0 && emu::conflictsOf(apart, ~0u, 4) == 31, "bank conflicts");
}

void errors() {
  float* p = nullptr;
  emu::injectError(cudaErrorMemoryAllocation, 0);
  check(cudaMalloc(reinterpret_cast<void**>(&p), 64) == cudaErrorMemoryAllocation && cudaMalloc(reinterpret_cast<void**>(&p), 64) == cudaSuccess, "an injected allocation failure passes");
  emu::injectError(cudaErrorIllegalAddress, 1);
  check(cudaDeviceSynchronize() == cudaSuccess && cudaDeviceSynchronize() == cudaErrorIllegalAddress && cudaDeviceSynchronize() == cudaErrorIllegalAddress, "an illegal address sticks");
  cudaDeviceReset();
  check(cudaFree(p) == cudaSuccess && cudaFree(p) == cudaErrorInvalidValue, "a second free is refused");
}

void conversions() {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 65536; bits++) {
    const __half h{static_cast<uint16_t>(bits)};
    const __nv_bfloat16 b{static_cast<uint16_t>(bits)};
    const float fh = __half2float(h), fb = __bfloat162float(b);
    if (!std::isnan(fh) && __float2half_rn(fh).bits != bits) wrong++;
    if (!std::isnan(fb) && __float2bfloat16_rn(fb).bits != bits) wrong++;
  }
  check(wrong == 0, "every half and bfloat16 value survives the way through float");
  check(__float2half_rn(65520.0f).bits == 0x7c00 && __float2half_rn(2049.0f).bits == 0x6800 && __float2half_rn(2.9802322e-8f).bits == 0, "half rounding");
}
}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "--out-of-bounds") {
    // For AddressSanitizer: must not survive.
    DeviceArray<float> x(64);
    launchOutOfBounds(x.data, 64, nullptr);
    cudaDeviceSynchronize();
    return 0;
  }
  rowSums();
  products<__half>("half", __float2half_rn, __half2float);
  products<__nv_bfloat16>("bfloat16", __float2bfloat16_rn, __bfloat162float);
  sharedMemory();
  acrossBlocks();
  graphs();
  counters();
  errors();
  conversions();
  testWarpgroups([](bool ok, const char* what) { check(ok, what); });
  testIpc([](bool ok, const char* what) { check(ok, what); });
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
