#include "launch-kernels.h"

#include "kernels/lib/gpu.h"

namespace {
template <Form kForm>
__global__ void orderedLink(unsigned* value, unsigned addend) {
  if (kForm == Form::dependentEarly) launchDependents();
  if (kForm != Form::plain) waitForPrevious();
  if (value != nullptr && blockIdx.x + threadIdx.x == 0) *value = *value * kChainFactor + addend;
}

// One thread per block writes its round, all meet, and one reads its neighbour's.
__global__ void meet(unsigned* state, unsigned* arrived, unsigned* missing, int barriers, bool check) {
  for (int round = 1; round <= barriers; round++) {
    if (check && threadIdx.x == 0) arrived[blockIdx.x] = round;
    gridBarrier(state);
    if (check && threadIdx.x == 0 && *const_cast<volatile unsigned*>(arrived + (blockIdx.x + 1) % gridDim.x) != static_cast<unsigned>(round)) atomicAdd(missing, 1u);
    if (check) gridBarrier(state);
  }
}
}  // namespace

void enqueueLink(const Probe& probe, Chain chain, Form form, unsigned blocks, unsigned threads) {
  constexpr void (*kernels[])(unsigned*, unsigned) = {orderedLink<Form::plain>, orderedLink<Form::dependent>, orderedLink<Form::dependentEarly>};
  quire::dependentLaunches = form != Form::plain;
  const cudaError_t e = gpuLaunch({"link", {blocks}, {threads}, 0, probe.stream}, kernels[static_cast<int>(form)], chain.value, chain.addend);
  quire::dependentLaunches = false;
  CUDA_TRY(e);
}

void enqueueBarriers(const Probe& probe, const BarrierArrays& arrays, int barriers, bool check, unsigned blocks, unsigned threads) {
  GpuLaunch launch{"meet", {blocks}, {threads}, 0, probe.stream};
  launch.cooperative = true;
  CUDA_TRY(gpuLaunch(launch, meet, arrays.state, arrays.arrived, arrays.missing, barriers, check));
}
