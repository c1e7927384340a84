// Stage 7: NCCL through dlopen: a communicator of one rank, and one sum over it, which must give back what went in.
#include "libraries/nccl-api.h"

#include "declarations.h"
#include "stages.h"
#include "timing.h"

namespace {
using namespace nccl;

void allReduce(const Probe& probe, const Api& api) {
  const auto tryCall = [&](int status, const char* what) {
    if (status != 0) throw std::runtime_error(format("%s: status %d, %s", what, status, api.GetErrorString(status)));
  };
  UniqueId id;
  Comm comm = nullptr;
  auto start = Probe::Clock::now();
  tryCall(api.GetUniqueId(&id), "ncclGetUniqueId");
  tryCall(api.CommInitRank(&comm, 1, id, 0), "ncclCommInitRank");
  probe.line("communicator").put("ranks", 1).put("milliseconds", microsecondsSince(start) / 1e3).emit();

  std::vector<float> values(Probe::pick(size_t{1} << 20, size_t{256}));
  Random random{13};
  for (auto& v : values) v = static_cast<float>(random.below(1000)) - 500;
  const DeviceArray<float> from(values), to(values.size());
  const double microseconds = medianMicroseconds(probe, Probe::pick(11, 1), [&] {
    tryCall(api.AllReduce(from.data, to.data, values.size(), kFloat32, kSum, comm, probe.stream), "ncclAllReduce");
  });
  const bool same = to.read(probe.stream) == values;
  int later = 0;
  tryCall(api.CommGetAsyncError(comm, &later), "ncclCommGetAsyncError");
  tryCall(later, "the communicator");
  tryCall(api.CommDestroy(comm), "ncclCommDestroy");
  probe.line("allReduce").put("ranks", 1).put("bytes", values.size() * sizeof(float)).put("microseconds", microseconds).put("same", same).emit();
  if (!same) throw std::runtime_error("allReduce over one rank changed its input");
}
}  // namespace

void ncclStage(const Probe& probe) {
  const auto start = Probe::Clock::now();
  const quire::Library library = openLibrary();
  const std::string missing = missingSymbols(library, kFunctionParameters);
  const Api api = load(library);
  int version = 0;
  if (api.GetVersion != nullptr) api.GetVersion(&version);
  probe.line("library").put("path", library.path()).put("openMilliseconds", microsecondsSince(start) / 1e3).put("version", version).put("missing", missing).emit();
  compareHeaders(probe, library, {"nccl.h"}, kConstants, kFunctionParameters);
  if (!missing.empty()) throw std::runtime_error("NCCL lacks " + missing);
  allReduce(probe, api);
  probe.headline(format("NCCL %d: a communicator of one rank works", version));
}
