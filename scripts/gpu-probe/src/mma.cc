// Stage 5: the peak of mma.sync with bf16 inputs, from registers and through ldmatrix, against warps and blocks per SM; and
// the rate at which cp.async fetches from L2.
#include "mma-kernels.h"
#include "stages.h"
#include "streams.h"
#include "timing.h"

namespace {
constexpr int kDepth = 64;

// Random signs and fractions near 1; the power that the chip draws depends on the data.
std::vector<uint16_t> randomValues(int rows, bool onlyOnes) {
  Random random{3};
  std::vector<uint16_t> values(static_cast<size_t>(rows) * kDepth);
  for (auto& v : values) v = static_cast<uint16_t>(random.below(2) << 15 | (onlyOnes ? 0x3f80 : 0x3f00 | random.below(256)));
  return values;
}

// How many blocks an SM holds is set through the shared memory that each asks for.
size_t sharedBytesFor(const MmaShape& shape) {
  int perSm = 160 * 1024, perBlock = 0;
#if !defined(EMU)
  CUDA_TRY(cudaDeviceGetAttribute(&perSm, cudaDevAttrMaxSharedMemoryPerMultiprocessor, 0));
#endif
  CUDA_TRY(cudaDeviceGetAttribute(&perBlock, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
  const int share = perSm / shape.blocksPerSm - 1024;
  return static_cast<size_t>(std::min(share / 1024 * 1024, perBlock));
}

// Products of ones are exact in any order.
void checkProduct(const Probe& probe, const MmaShape& shape) {
  const int rows = 16 * shape.m, columns = 16 * shape.n, iterations = 2;
  const std::vector<uint16_t> values = randomValues(rows + columns, true);
  const DeviceArray<uint16_t> device(values);
  const DeviceArray<float> out(static_cast<size_t>(rows) * columns);
  enqueueMma(probe, shape, sharedBytesFor(shape), device.data, out.data, iterations);
  const std::vector<float> found = out.read(probe.stream);
  for (int r = 0; r < rows; r++) {
    for (int c = 0; c < columns; c++) {
      int sum = 0;
      for (int k = 0; k < kDepth; k++) {
        // From registers, the first 16 k four times.
        const int from = shape.fromShared ? k : k % 16;
        sum += values[r * kDepth + from] == values[(rows + c) * kDepth + from] ? iterations : -iterations;
      }
      if (found[r * columns + c] != static_cast<float>(sum)) throw std::runtime_error(format("mma loop: row %d, column %d is %g, expected %d", r, c, found[r * columns + c], sum));
    }
  }
}

double measure(const Probe& probe, const MmaShape& shape) {
  const DeviceArray<uint16_t> values(randomValues(16 * (shape.m + shape.n), false));
  const size_t shared = sharedBytesFor(shape);
  const int iterations = Probe::pick(4096 / (shape.m * shape.n), 1);
  const double microseconds = medianMicroseconds(probe, Probe::pick(7, 1), [&] { enqueueMma(probe, shape, shared, values.data, nullptr, iterations); });
  const double teraflops = shape.flops(iterations, probe.smCount) / microseconds / 1e6;
  probe.line(shape.fromShared ? "mma.sync with ldmatrix" : "mma.sync from registers").put("m", 16 * shape.m).put("n", 16 * shape.n).put("warpsPerBlock", shape.warpsPerBlock)
      .put("blocksPerSm", shape.blocksPerSm).put("microseconds", microseconds).put("teraflops", teraflops).emit();
  return teraflops;
}

void rates(const Probe& probe, bool fromShared) {
  const std::vector<std::pair<int, int>> tiles = Probe::pick<std::vector<std::pair<int, int>>>({{1, 1}, {2, 2}, {4, 2}, {4, 4}}, {{1, 1}, {2, 2}});
  double best = 0;
  for (const auto& [m, n] : tiles) {
    checkProduct(probe, {m, n, fromShared, 1, 1});
    for (const int warps : Probe::pick<std::vector<int>>({4, 8}, {1})) {
      for (const int blocks : Probe::pick<std::vector<int>>({1, 2, 4}, {1})) {
        // Sums, fragments and addresses, as compiled; an SM has 64 Ki registers.
        const int registers = m * n == 16 ? 256 : m * n == 8 ? 184 : 120;
        if (32 * warps * blocks * registers <= 65536 && probe.timeLeft()) best = std::max(best, measure(probe, {m, n, fromShared, warps, blocks}));
      }
    }
  }
  probe.headline(format("bf16 mma.sync %s: %.0f TFLOP/s", fromShared ? "with ldmatrix" : "from registers", best));
}

// The whole grid reads the same few megabytes again and again.
void l2Rates(const Probe& probe) {
  const size_t bytes = Probe::pick(size_t{16} << 20, size_t{1} << 14);
  const DeviceArray<uint4> data(bytes / sizeof(uint4));
  enqueueFill(probe, data.data, bytes);
  const int passes = Probe::pick(20, 2);
  double best = 0;
  for (const Move move : {Move::readAsync, Move::read}) {
    for (const int loads : Probe::pick<std::vector<int>>({2, 4, 8}, {2, 4})) {
      for (const int warps : Probe::pick<std::vector<int>>({4, 8, 16}, {4})) {
        for (const int blocks : Probe::pick<std::vector<int>>({1, 2, 4}, {1})) {
          const MoveShape shape{move, loads, warps, blocks};
          if (!shapeFits(shape) || !probe.timeLeft()) continue;
          const double microseconds = medianMicroseconds(probe, Probe::pick(5, 1), [&] { enqueueMove(probe, shape, data.data, nullptr, bytes, passes, nullptr); });
          const double rate = static_cast<double>(bytes) * passes / microseconds / 1e3;
          if (move == Move::readAsync) best = std::max(best, rate);
          probe.line(move == Move::readAsync ? "cp.async from L2" : "loads from L2").put("loadsPerLane", loads).put("warpsPerBlock", warps).put("blocksPerSm", blocks)
              .put("bytesInFlightPerSm", shape.bytesInFlightPerSm()).put("gbPerSecond", rate).emit();
        }
      }
    }
  }
  probe.headline(format("cp.async from L2: %.0f GB/s", best));
}
}  // namespace

void mmaStage(const Probe& probe) {
  rates(probe, false);
  rates(probe, true);
  l2Rates(probe);
}
