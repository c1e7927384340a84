// Stage 4: what it costs to start work: graph nodes, eager launches, dependent launches, grid barriers, copy nodes.
// Every form is first made to do something whose result depends on the order, so that a cheap wrong launch does not pass.
#include "host-costs.h"
#include "launch-kernels.h"
#include "stages.h"
#include "timing.h"

namespace {
// What links with the addends 1, 2, 3 ... make of a value, one after the other.
unsigned chained(unsigned value, int links) {
  for (int i = 0; i < links; i++) value = value * kChainFactor + i + 1;
  return value;
}

struct Grid {
  const char* name;
  unsigned blocks, threads;
};

class Launches {
 public:
  explicit Launches(const Probe& probe) : probe_(probe), value_(1) {}

  void checkOrder(Form form);
  void graphNodes(const Grid& grid, Form form);
  void eager(const Grid& grid, Form form);
  void gridBarrier(unsigned blocksPerSm, unsigned threads);
  void otherNodes();

 private:
  void reset() { CUDA_TRY(cudaMemsetAsync(value_.data, 0, sizeof(unsigned), probe_.stream)); }
  // A null value: kernels that do nothing.
  void enqueueChain(int links, unsigned* value, Form form, const Grid& grid) {
    for (int i = 0; i < links; i++) enqueueLink(probe_, {value, i + 1u}, form, grid.blocks, grid.threads);
  }
  double graphMicroseconds(const Graph& graph) { return medianMicroseconds(probe_, Probe::pick(21, 1), [&] { graph.launch(); }); }

  const Probe& probe_;
  DeviceArray<unsigned> value_;
};

// A chain of multiply-and-add over one word, each link with its own addend, eagerly and replayed twice: a link out of its
// place changes the result.
void Launches::checkOrder(Form form) {
  const Grid grid{"one block per SM", static_cast<unsigned>(probe_.smCount), 64};
  constexpr int kLinks = 50;
  reset();
  enqueueChain(kLinks, value_.data, form, grid);
  const bool eagerOk = value_.read(probe_.stream)[0] == chained(0, kLinks);
  reset();
  const Graph graph(probe_, [&] { enqueueChain(kLinks, value_.data, form, grid); });
  graph.launch();
  graph.launch();
  const bool graphOk = value_.read(probe_.stream)[0] == chained(chained(0, kLinks), kLinks);
  probe_.line("order").put("form", nameOf(form)).put("eager", eagerOk).put("graph", graphOk).emit();
  if (!eagerOk || !graphOk) throw std::runtime_error("kernels of one stream ran out of order");
}

void Launches::graphNodes(const Grid& grid, Form form) {
  double one = 0, all = 0;
  const std::vector<int> counts = Probe::pick<std::vector<int>>({1, 10, 100, 400}, {1, 10});
  for (const int nodes : counts) {
    size_t before = 0, after = 0, total = 0;
    CUDA_TRY(cudaMemGetInfo(&before, &total));
    const Graph graph(probe_, [&] { enqueueChain(nodes, nullptr, form, grid); });
    const double microseconds = graphMicroseconds(graph);
    CUDA_TRY(cudaMemGetInfo(&after, &total));
    (nodes == 1 ? one : all) = microseconds;
    std::vector<double> cpu, wall;
    for (int i = 0; i < Probe::pick(21, 1); i++) {
      CUDA_TRY(cudaStreamSynchronize(probe_.stream));
      const auto start = Probe::Clock::now();
      graph.launch();
      cpu.push_back(microsecondsSince(start));
      CUDA_TRY(cudaStreamSynchronize(probe_.stream));
      wall.push_back(microsecondsSince(start));
    }
    probe_.line("graph").put("grid", grid.name).put("form", nameOf(form)).put("nodes", nodes).put("microseconds", microseconds)
        .put("microsecondsPerNode", microseconds / nodes).put("cpuMicroseconds", median(cpu)).put("wallMicroseconds", median(wall))
        .put("instantiateMicroseconds", graph.instantiateMicroseconds).put("bytes", before > after ? before - after : 0).emit();
  }
  probe_.headline(format("graph node, %s, %s: %.2f us", grid.name, nameOf(form), (all - one) / (counts.back() - 1)));
}

void Launches::eager(const Grid& grid, Form form) {
  const int launches = Probe::pick(400, 4);
  std::vector<double> cpu;
  const double microseconds = medianMicroseconds(probe_, Probe::pick(11, 1), [&] {
    const auto start = Probe::Clock::now();
    enqueueChain(launches, nullptr, form, grid);
    cpu.push_back(microsecondsSince(start));
  });
  probe_.line("eager").put("grid", grid.name).put("form", nameOf(form)).put("launches", launches)
      .put("microsecondsPerLaunch", microseconds / launches).put("cpuMicrosecondsPerLaunch", median(cpu) / launches).emit();
}

void Launches::gridBarrier(unsigned blocksPerSm, unsigned threads) {
  const unsigned blocks = blocksPerSm * static_cast<unsigned>(probe_.smCount);
  const DeviceArray<unsigned> words(std::vector<unsigned>(blocks + 2, 0));
  const BarrierArrays arrays{words.data, words.data + 2, words.data + 1};
  enqueueBarriers(probe_, arrays, 5, true, blocks, threads);
  const unsigned missing = words.read(probe_.stream)[1];
  if (missing != 0) throw std::runtime_error(format("grid barrier: %u blocks passed before their neighbour had arrived", missing));
  const int barriers = Probe::pick(200, 4);
  const auto time = [&](int n) { return medianMicroseconds(probe_, Probe::pick(11, 1), [&] { enqueueBarriers(probe_, arrays, n, false, blocks, threads); }); };
  const double without = time(0), with = time(barriers);
  probe_.line("grid barrier").put("blocksPerSm", blocksPerSm).put("threads", threads).put("launchMicroseconds", without).put("microsecondsPerBarrier", (with - without) / barriers).emit();
  probe_.headline(format("grid barrier, %u blocks of %u: %.2f us", blocks, threads, (with - without) / barriers));
}

// Copy and set nodes between kernels, as a step would have them.
void Launches::otherNodes() {
  const DeviceArray<unsigned> words(std::vector<unsigned>(16384, 3)), copy(16384);
  const int nodes = Probe::pick(100, 3);
  for (const size_t bytes : {size_t{4}, copy.count * sizeof(unsigned)}) {
    const Graph copies(probe_, [&] {
      for (int i = 0; i < nodes; i++) CUDA_TRY(cudaMemcpyAsync(copy.data, words.data, bytes, cudaMemcpyDeviceToDevice, probe_.stream));
    });
    const Graph sets(probe_, [&] {
      for (int i = 0; i < nodes; i++) CUDA_TRY(cudaMemsetAsync(copy.data, 1, bytes, probe_.stream));
    });
    const double copyTime = graphMicroseconds(copies) / nodes;
    const bool copied = copy.read(probe_.stream)[bytes / 4 - 1] == 3;
    const double setTime = graphMicroseconds(sets) / nodes;
    const bool set = copy.read(probe_.stream)[bytes / 4 - 1] == 0x01010101;
    if (!copied || !set) throw std::runtime_error("a copy or set node of a graph did not do its work");
    probe_.line("copy node").put("bytes", bytes).put("microsecondsPerNode", copyTime).emit();
    probe_.line("set node").put("bytes", bytes).put("microsecondsPerNode", setTime).emit();
  }
}
}  // namespace

void launchStage(const Probe& probe) {
  Launches launches(probe);
  const Grid single{"one block", 1, 32}, full{"full grid", static_cast<unsigned>(probe.smCount), Probe::pick(256u, 32u)};
  std::vector<Form> forms = {Form::plain};
  if (probe.hasDependentLaunch()) forms.insert(forms.end(), {Form::dependent, Form::dependentEarly});
  for (const Form form : forms) {
    launches.checkOrder(form);
    for (const Grid& grid : {single, full}) {
      launches.graphNodes(grid, form);
      launches.eager(grid, form);
    }
  }
  for (const unsigned threads : Probe::pick<std::vector<unsigned>>({128, 512, 1024}, {64})) {
    for (const unsigned blocksPerSm : {1u, 2u}) {
      if (blocksPerSm * threads <= 1024 || blocksPerSm == 1) launches.gridBarrier(blocksPerSm, threads);
    }
  }
  launches.otherNodes();
  eventCosts(probe);
  hostCopies(probe);
}
