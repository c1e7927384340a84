// Stage 3: the roofline of everything else. How many bytes in flight per SM a read needs, what reads, writes and copies of 1 MB
// to 4 GB reach with cold caches, and the latencies behind it.
//
// A measurement replays a graph of equal moves over neighbouring slices of one pool. All slices together are far larger than
// the L2 cache, so each finds its data cold; the time per move holds its share of a node's cost, as in real use.
#include "stages.h"
#include "streams.h"
#include "timing.h"

namespace {
constexpr size_t kMegabyte = size_t{1} << 20;
const char* nameOf(Move move) {
  switch (move) {
    case Move::read: return "read";
    case Move::copy: return "copy";
    case Move::write: return "write";
    case Move::readAsync: return "read, cp.async";
  }
  return "";
}

struct Pools {
  explicit Pools(const Probe& probe) : bytes(poolBytes()), from(bytes / sizeof(uint4)), to(bytes / sizeof(uint4)) {
    enqueueFill(probe, from.data, bytes);
    CUDA_TRY(cudaStreamSynchronize(probe.stream));
  }
  // 4 GB, or less where memory is short; a power of two.
  static size_t poolBytes() {
    size_t free = 0, total = 0;
    CUDA_TRY(cudaMemGetInfo(&free, &total));
    size_t pool = Probe::pick(4096 * kMegabyte, kMegabyte / 4);
    while (pool > free / 3) pool /= 2;
    return pool;
  }
  size_t bytes;
  DeviceArray<uint4> from, to;
};

struct Best {
  MoveShape shape;
  double gigabytesPerSecond = 0;
};

class Bandwidth {
 public:
  explicit Bandwidth(const Probe& probe) : probe_(probe), pools_(probe) {}

  void checkReads(const MoveShape& shape);
  double measure(const MoveShape& shape, size_t bytes);
  Best sweep(Move move, const std::vector<int>& loads);
  void sizes(const MoveShape& shape);
  void libraryMoves();
  void latency(size_t bytes, const char* where);

 private:
  const Probe& probe_;
  Pools pools_;
};

// A wrong index would measure something else: the xor of all words must be that of the pool.
void Bandwidth::checkReads(const MoveShape& shape) {
  const size_t bytes = std::min(pools_.bytes, 4 * kMegabyte);
  const DeviceArray<unsigned> checks(static_cast<size_t>(probe_.smCount) * shape.blocksPerSm * shape.warpsPerBlock * 32);
  enqueueMove(probe_, shape, pools_.from.data, nullptr, bytes, 1, checks.data);
  unsigned expected = 0, found = 0;
  for (size_t i = 0; i < bytes / sizeof(uint4); i++) {
    const uint4 v = fillAt(i);
    expected ^= v.x ^ v.y ^ v.z ^ v.w;
  }
  for (const unsigned check : checks.read(probe_.stream)) found ^= check;
  if (found != expected) throw std::runtime_error(format("%s: read %08x, expected %08x", nameOf(shape.move), found, expected));
}

// Median time of one move of `bytes`, as GB/s; a copy counts what it reads and what it writes.
double Bandwidth::measure(const MoveShape& shape, size_t bytes) {
  const size_t slices = std::min<size_t>(256, pools_.bytes / bytes), vectors = bytes / sizeof(uint4);
  const Graph graph(probe_, [&] {
    for (size_t i = 0; i < slices; i++) enqueueMove(probe_, shape, pools_.from.data + i * vectors, pools_.to.data + i * vectors, bytes, 1, nullptr);
  });
  const double microseconds = medianMicroseconds(probe_, Probe::pick(7, 1), [&] { graph.launch(); }) / static_cast<double>(slices);
  const double rate = static_cast<double>(bytes) * (shape.move == Move::copy ? 2 : 1) / microseconds / 1e3;
  probe_.line(nameOf(shape.move)).put("bytes", bytes).put("loadsPerLane", shape.loadsPerLane).put("warpsPerBlock", shape.warpsPerBlock).put("blocksPerSm", shape.blocksPerSm)
      .put("bytesInFlightPerSm", shape.bytesInFlightPerSm()).put("microseconds", microseconds).put("gbPerSecond", rate).emit();
  return rate;
}

Best Bandwidth::sweep(Move move, const std::vector<int>& loads) {
  const size_t bytes = std::min(pools_.bytes, 1024 * kMegabyte);
  Best best;
  for (const int warps : Probe::pick<std::vector<int>>({4, 8, 16, 32}, {4})) {
    for (const int blocks : Probe::pick<std::vector<int>>({1, 2, 4, 8}, {1, 2})) {
      for (const int load : loads) {
        const MoveShape shape{move, load, warps, blocks};
        if (!shapeFits(shape) || !probe_.timeLeft()) continue;
        const double rate = measure(shape, bytes);
        if (rate > best.gigabytesPerSecond) best = {shape, rate};
      }
    }
  }
  if (best.gigabytesPerSecond == 0) throw std::runtime_error("no shape was measured before the time cap");
  probe_.headline(format("%s: %.0f GB/s with %zu bytes in flight per SM", nameOf(move), best.gigabytesPerSecond, best.shape.bytesInFlightPerSm()));
  return best;
}

void Bandwidth::sizes(const MoveShape& shape) {
  for (size_t bytes = Probe::pick(kMegabyte, kMegabyte / 16); bytes <= pools_.bytes; bytes *= Probe::pick(2, 4)) {
    if (probe_.timeLeft()) measure(shape, bytes);
  }
}

void Bandwidth::libraryMoves() {
  const size_t bytes = pools_.bytes / 4;
  const auto report = [&](const char* what, double factor, double microseconds) {
    probe_.line(what).put("bytes", bytes).put("microseconds", microseconds).put("gbPerSecond", factor * static_cast<double>(bytes) / microseconds / 1e3).emit();
  };
  report("cudaMemcpyAsync", 2, medianMicroseconds(probe_, 5, [&] { CUDA_TRY(cudaMemcpyAsync(pools_.to.data, pools_.from.data, bytes, cudaMemcpyDeviceToDevice, probe_.stream)); }));
  report("cudaMemsetAsync", 1, medianMicroseconds(probe_, 5, [&] { CUDA_TRY(cudaMemsetAsync(pools_.to.data, 1, bytes, probe_.stream)); }));
}

// One dependent load after another over a random cycle of 128-byte lines.
void Bandwidth::latency(size_t bytes, const char* where) {
  const unsigned lines = static_cast<unsigned>(bytes / 128);
  std::vector<unsigned> order(lines), links(lines * 32, 0);
  Random random{7};
  for (unsigned i = 0; i < lines; i++) order[i] = i;
  for (unsigned i = lines - 1; i > 0; i--) std::swap(order[i], order[random.below(i + 1)]);
  for (unsigned i = 0; i < lines; i++) links[order[i] * 32] = order[(i + 1) % lines] * 32;
  const DeviceArray<unsigned> device(links), end(std::vector<unsigned>{0});
  // What the copy to the device left in L2 goes; each run then takes up the chain where the last one stopped.
  enqueueFill(probe_, pools_.from.data, pools_.bytes);
  const int steps = Probe::pick(20000, 200), runs = 3;
  const double microseconds = medianMicroseconds(probe_, runs, [&] { enqueueChase(probe_, device.data, end.data, steps); });
  unsigned expected = 0;
  for (int i = 0; i < steps * (runs + 1); i++) expected = links[expected];
  if (end.read(probe_.stream)[0] != expected) throw std::runtime_error("the chain of loads ended at the wrong word");
  probe_.line("latency").put("where", where).put("bytes", bytes).put("nanoseconds", microseconds * 1e3 / steps).emit();
}
}  // namespace

void bandwidthStage(const Probe& probe) {
  Bandwidth bandwidth(probe);
  const std::vector<int> loads = Probe::pick<std::vector<int>>({1, 2, 4, 8, 16}, {1, 4}), stages = Probe::pick<std::vector<int>>({2, 4, 8}, {2, 4});
  for (const int load : loads) bandwidth.checkReads({Move::read, load, 4, 2});
  for (const int stage : stages) bandwidth.checkReads({Move::readAsync, stage, 4, 2});
  const Best read = bandwidth.sweep(Move::read, loads);
  bandwidth.sizes(read.shape);
  const std::vector<int> stores = Probe::pick<std::vector<int>>({4, 8}, {1});
  bandwidth.sizes(bandwidth.sweep(Move::copy, stores).shape);
  bandwidth.sizes(bandwidth.sweep(Move::write, stores).shape);
  bandwidth.libraryMoves();
  bandwidth.sweep(Move::readAsync, stages);
  bandwidth.latency(Probe::pick(2 * kMegabyte, kMegabyte / 64), "L2");
  bandwidth.latency(Probe::pick(256 * kMegabyte, kMegabyte / 16), "DRAM");
}
