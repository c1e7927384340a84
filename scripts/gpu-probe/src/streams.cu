// Each block of a fixed grid strides over tiles of blockDim.x * kLoads vectors; a lane issues kLoads independent accesses of 16
// bytes before it uses the first. The asynchronous form keeps a ring of kStages tiles on their way to shared memory, and
// each lane reads back only what it asked for, so no barrier is in the way.
#include "streams.h"

#include "kernels/lib/gpu.h"

namespace {
__host__ __device__ inline uint4 mixed(size_t index) {
  uint64_t z = (index + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  const uint64_t w = z ^ z >> 31;
  return make_uint4(static_cast<unsigned>(z), static_cast<unsigned>(z >> 32), static_cast<unsigned>(w), static_cast<unsigned>(w >> 32));
}
__device__ __forceinline__ unsigned folded(const uint4& v) { return v.x ^ v.y ^ v.z ^ v.w; }
// Of another lane. Unlike plain arithmetic, an exchange stays behind the __syncwarp in front of it, so that the compiler keeps
// all loads of a round together instead of using the first before it issues the last.
__device__ __forceinline__ unsigned neighboursFolded(const uint4& v) {
  const auto neighbour = [](unsigned x) { return __shfl_xor_sync(kFullMask, x, 1); };
  return neighbour(v.x) ^ neighbour(v.y) ^ neighbour(v.z) ^ neighbour(v.w);
}

template <Move kMove, int kLoads>
__global__ void moveDirect(const uint4* from, uint4* to, size_t vectors, int passes, unsigned* checks) {
  const size_t tile = size_t{blockDim.x} * kLoads;
  unsigned check = 0;
  for (int pass = 0; pass < passes; pass++) {
    for (size_t at = blockIdx.x * tile + threadIdx.x; at < vectors; at += gridDim.x * tile) {
      uint4 v[kLoads];
#pragma unroll
      for (int i = 0; i < kLoads; i++) {
        if constexpr (kMove == Move::write) v[i] = make_uint4(pass, i, threadIdx.x, blockIdx.x);
        else v[i] = GPU_LOAD(from + at + i * blockDim.x);
      }
      __syncwarp();
#pragma unroll
      for (int i = 0; i < kLoads; i++) {
        if constexpr (kMove == Move::read) check ^= neighboursFolded(v[i]);
        else GPU_STORE(to + at + i * blockDim.x, v[i]);
      }
    }
  }
  if (kMove == Move::read && checks != nullptr) checks[blockIdx.x * blockDim.x + threadIdx.x] = check;
}

template <int kStages>
__global__ void moveAsync(const uint4* from, size_t vectors, int passes, unsigned* checks) {
  DYN_SHARED(uint4, ring);
  const size_t step = size_t{gridDim.x} * blockDim.x, first = size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  unsigned check = 0;
  for (int pass = 0; pass < passes; pass++) {
    const auto issue = [&](size_t at, int stage) {
      if (at < vectors) cpAsync16(ring + stage * blockDim.x + threadIdx.x, from + at);
      cpAsyncCommit();
    };
    for (int stage = 0; stage < kStages - 1; stage++) issue(first + stage * step, stage);
    int stage = 0;
    for (size_t at = first; at < vectors; at += step) {
      issue(at + (kStages - 1) * step, (stage + kStages - 1) % kStages);
      cpAsyncWait<kStages - 1>();
      check ^= folded(ring[stage * blockDim.x + threadIdx.x]);
      stage = (stage + 1) % kStages;
    }
    cpAsyncWait<0>();
  }
  if (checks != nullptr) checks[blockIdx.x * blockDim.x + threadIdx.x] = check;
}

__global__ void fill(uint4* to, size_t vectors) {
  for (size_t at = size_t{blockIdx.x} * blockDim.x + threadIdx.x; at < vectors; at += size_t{gridDim.x} * blockDim.x) to[at] = mixed(at);
}

__global__ void chase(const unsigned* links, unsigned* end, int steps) {
  unsigned at = *end;
  for (int i = 0; i < steps; i++) at = GPU_LOAD(links + at);
  *end = at;
}

template <Move kMove>
auto directKernel(int loads) {
  switch (loads) {
    case 1: return moveDirect<kMove, 1>;
    case 2: return moveDirect<kMove, 2>;
    case 4: return moveDirect<kMove, 4>;
    case 8: return moveDirect<kMove, 8>;
    case 16: return moveDirect<kMove, 16>;
    default: throw std::logic_error("no kernel with this number of loads");
  }
}
auto asyncKernel(int stages) {
  switch (stages) {
    case 2: return moveAsync<2>;
    case 4: return moveAsync<4>;
    case 8: return moveAsync<8>;
    default: throw std::logic_error("no kernel with this number of stages");
  }
}
}  // namespace

uint4 fillAt(size_t index) { return mixed(index); }

bool shapeFits(const MoveShape& shape) {
  const int threads = 32 * shape.warpsPerBlock;
  if (shape.move == Move::readAsync) return shape.bytesInFlightPerSm() <= 160 * 1024 && threads * shape.blocksPerSm <= 2048;
  // As compiled: 4 registers per load and some more, of the 64 Ki that an SM has.
  const int registers = std::max(32, 16 + 4 * shape.loadsPerLane);
  return threads * shape.blocksPerSm <= 2048 && threads * shape.blocksPerSm * registers <= 65536;
}

void enqueueMove(const Probe& probe, const MoveShape& s, const uint4* from, uint4* to, size_t bytes, int passes, unsigned* checks) {
  const size_t vectors = bytes / sizeof(uint4);
  const unsigned threads = 32 * s.warpsPerBlock, blocks = static_cast<unsigned>(probe.smCount * s.blocksPerSm);
  GpuLaunch launch{"move", {blocks}, {threads}, 0, probe.stream};
  switch (s.move) {
    case Move::read: return CUDA_TRY(gpuLaunch(launch, directKernel<Move::read>(s.loadsPerLane), from, to, vectors, passes, checks));
    case Move::copy: return CUDA_TRY(gpuLaunch(launch, directKernel<Move::copy>(s.loadsPerLane), from, to, vectors, passes, checks));
    case Move::write: return CUDA_TRY(gpuLaunch(launch, directKernel<Move::write>(s.loadsPerLane), from, to, vectors, passes, checks));
    case Move::readAsync:
      launch.dynamicSharedBytes = threads * sizeof(uint4) * s.loadsPerLane;
      return CUDA_TRY(gpuLaunch(launch, asyncKernel(s.loadsPerLane), from, vectors, passes, checks));
  }
}

void enqueueFill(const Probe& probe, uint4* to, size_t bytes) {
  CUDA_TRY(gpuLaunch({"fill", {static_cast<unsigned>(probe.smCount * 8)}, {256}, 0, probe.stream}, fill, to, bytes / sizeof(uint4)));
}

void enqueueChase(const Probe& probe, const unsigned* links, unsigned* end, int steps) {
  CUDA_TRY(gpuLaunch({"chase", {1}, {1}, 0, probe.stream}, chase, links, end, steps));
}
