// One warp per tile executes one mma.m16n8k16 on the registers that it is given; one warp executes ldmatrix or movmatrix.
#include "fragments.h"
#include "kernels/lib/gpu.h"

namespace {
template <class T>
__global__ void oneMma(const uint32_t* a, const uint32_t* b, const uint32_t* c, uint32_t* d) {
  const int lane = threadIdx.x, tile = blockIdx.x * kLanes + lane;
  uint32_t fa[4], fb[2];
  float sum[4];
  for (int i = 0; i < 4; i++) fa[i] = a[tile * 4 + i];
  for (int i = 0; i < 2; i++) fb[i] = b[tile * 2 + i];
  for (int i = 0; i < 4; i++) sum[i] = __uint_as_float(c[tile * 4 + i]);
  mma16816<T>(sum, fa, fb);
  for (int i = 0; i < 4; i++) d[tile * 4 + i] = __float_as_uint(sum[i]);
}

template <bool kTranspose>
__global__ void oneLdmatrix(const uint32_t* rows, uint32_t* out) {
  SHARED(uint16_t, matrix, 256);
  const int lane = threadIdx.x;
  for (int i = 0; i < 8; i++) matrix[lane * 8 + i] = static_cast<uint16_t>(lane * 8 + i);
  __syncwarp();
  uint32_t r[4];
  ldmatrixX4<kTranspose>(r, matrix + rows[lane] * 8);
  for (int i = 0; i < 4; i++) out[lane * 4 + i] = r[i];
}

__global__ void oneTranspose(uint32_t* out) {
  const uint32_t lane = threadIdx.x;
  out[lane] = transpose8x8(2 * lane | (2 * lane + 1) << 16);
}

template <size_t n>
void packPairs(const std::array<uint16_t, n>& halves, std::vector<uint32_t>& words) {
  for (size_t i = 0; i < n; i += 2) words.push_back(halves[i] | static_cast<uint32_t>(halves[i + 1]) << 16);
}
}  // namespace

void runTiles(const Probe& probe, Half type, std::vector<Tile>& tiles) {
  std::vector<uint32_t> a, b, c;
  for (const Tile& tile : tiles) {
    packPairs(tile.a, a);
    packPairs(tile.b, b);
    c.insert(c.end(), tile.c.begin(), tile.c.end());
  }
  const DeviceArray<uint32_t> da(a), db(b), dc(c), dd(c.size());
  const GpuLaunch launch{"oneMma", {static_cast<unsigned>(tiles.size())}, {kLanes}, 0, probe.stream};
  CUDA_TRY(gpuLaunch(launch, type == Half::f16 ? oneMma<__half> : oneMma<__nv_bfloat16>, da.data, db.data, dc.data, dd.data));
  const std::vector<uint32_t> d = dd.read(probe.stream);
  for (size_t t = 0; t < tiles.size(); t++) std::copy_n(d.begin() + t * kSlotsD, kSlotsD, tiles[t].d.begin());
}

std::vector<uint32_t> runLdmatrix(const Probe& probe, bool transpose, const std::array<uint32_t, kLanes>& rows) {
  const DeviceArray<uint32_t> order(std::vector<uint32_t>(rows.begin(), rows.end())), out(kLanes * 4);
  CUDA_TRY(gpuLaunch({"oneLdmatrix", {1}, {kLanes}, 0, probe.stream}, transpose ? oneLdmatrix<true> : oneLdmatrix<false>, order.data, out.data));
  return out.read(probe.stream);
}

std::vector<uint32_t> runTranspose(const Probe& probe) {
  const DeviceArray<uint32_t> out(kLanes);
  CUDA_TRY(gpuLaunch({"oneTranspose", {1}, {kLanes}, 0, probe.stream}, oneTranspose, out.data));
  return out.read(probe.stream);
}
