// linear with a quantised weight in f32: codes stream once through registers, x lies in shared memory as f32. For activations in
// f32, and for rows of x that are not whole packs of 16 bytes.
//
// The division of work is that of gemv.cu. A lane reads 16 bytes of codes of each of its 4 records at a time, and the scale of their
// group with them: two such sets, each of which it asks for again as soon as it is used up. A q4 weight is scale (code - zero), which f32 holds exactly; the scale of
// a q8 row is taken in when its sum is whole. The order of summation depends on N and K alone.
#include "gemv.h"
#include "quantized.h"

namespace quire {
namespace {

using namespace gemv;

// A set of packs of so many slices has room in the rows of x in shared memory.
template <class F>
constexpr int kMostSlices = F::kBits == 4 ? 4 : 8;
// Sets of packs on their way.
constexpr int kSets = 2;

// Codes of one pack of each record, and their scales.
template <class F>
struct PackSet {
  uint4 codes[kColumns];
  uint32_t scales[kColumns];

  // records[c] is null beyond the last column.
  __device__ __forceinline__ void load(const char* const (&records)[kColumns], const QuantRecord& record, int pack, int packs) {
#pragma unroll
    for (int c = 0; c < kColumns; c++) {
      const bool valid = records[c] != nullptr && pack < packs;
      codes[c] = GPU_LOAD_STREAMED(reinterpret_cast<const uint4*>(records[c]) + pack, valid);
      if constexpr (F::kBits == 4) scales[c] = valid ? scaleBits<F::kZeros>(records[c] + record.codeBytes, pack * F::kPack >> record.groupShift) : 0;
    }
  }
};

template <class F, int kRows>
__device__ __forceinline__ void multiply(float (&sums)[kRows * kColumns], const PackSet<F>& set, const float4* x, int packsPerPlane) {
  GroupScale groups[kColumns];
#pragma unroll
  for (int c = 0; c < kColumns; c++) groups[c] = F::kBits == 4 ? groupScale<F::kZeros>(set.scales[c]) : GroupScale{1, 0};
#pragma unroll
  for (int h = 0; h < F::kPack / 4; h++) {
    float weights[kColumns][4];
#pragma unroll
    for (int c = 0; c < kColumns; c++) {
      const uint32_t words[4] = {set.codes[c].x, set.codes[c].y, set.codes[c].z, set.codes[c].w};
      codesOf4<F>(weights[c], words[h * F::kBits / 8], h % 2, groups[c].zero);
      if constexpr (F::kBits == 4) {
#pragma unroll
        for (int i = 0; i < 4; i++) weights[c][i] *= groups[c].scale;
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; r++) {
      const float4 f = x[(r * F::kPack / 4 + h) * packsPerPlane];
#pragma unroll
      for (int c = 0; c < kColumns; c++) {
        float& sum = sums[r * kColumns + c];
        sum += f.x * weights[c][0];
        sum += f.y * weights[c][1];
        sum += f.z * weights[c][2];
        sum += f.w * weights[c][3];
      }
    }
  }
}

// At 4 rows numbers of q4 and their scales do not fit the registers that two blocks of an SM have.
template <class F, int kRows>
__global__ void __launch_bounds__(kThreads, kRows <= (F::kBits == 4 ? 2 : 4) ? 2 : 1) linearQuantGemv(const void* x, DType xDType, bool ragged, const char* weight, QuantRecord record, LinearOutput out, int k, int slices, int chunk) {
  DYN_SHARED(float4, activations);
  SHARED(float, partial, kWarps * kRows * kColumns);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = warp / slices, slice = warp % slices;
  const Place place(out, slices, kRows);

  const char* records[kColumns];
#pragma unroll
  for (int c = 0; c < kColumns; c++) {
    const int row = place.weightRow(out, group, c);
    records[c] = row >= 0 ? weight + row * record.bytes : nullptr;
  }
  const int packs = (k + F::kPack - 1) / F::kPack, stride = 32 * slices, chunkPacks = chunk / F::kPack;
  PackSet<F> sets[kSets];
#pragma unroll
  for (int u = 0; u < kSets; u++) sets[u].load(records, record, slice * 32 + lane + u * stride, packs);
  waitForPrevious();
  float sums[kRows * kColumns] = {};
  for (int first = 0; first < packs;) {
#pragma unroll
    for (int u = 0; u < kSets; u++, first += stride) {
      if (first >= packs) break;
      if (first % chunkPacks == 0) {
        __syncthreads();
        auto of = [](auto element, int, int) { return toFloat(element); };
        if (ragged) stage<F::kPack, kRows, true>(activations, x, xDType, place.row0, out.rows, first * F::kPack, k, chunkPacks, of);
        else stage<F::kPack, kRows, false>(activations, x, xDType, place.row0, out.rows, first * F::kPack, k, chunkPacks, of);
        __syncthreads();
      }
      const int pack = first + slice * 32 + lane;
      if (pack < packs) multiply<F, kRows>(sums, sets[u], activations + pack % chunkPacks, chunkPacks);
      sets[u].load(records, record, pack + kSets * stride, packs);
    }
  }
  launchDependents();

  storeSums<kRows>(out, place, partial, sums, [&](int row, float sum) {
    return F::kBits == 8 ? sum * *reinterpret_cast<const float*>(weight + row * record.bytes + record.codeBytes) : sum;
  });
}

template <class F, int kRows>
cudaError_t launch(const LinearProblem& p, const Step& s) {
  const int slices = sliceCount(p.weight.rows, p.k(), F::kPack, kMostSlices<F>), chunk = chunkOf<kRows>(p.k(), 32 * F::kPack * slices);
  const bool ragged = p.k() % 4 != 0 || reinterpret_cast<uintptr_t>(p.x.data) % 16 != 0;
  const GpuLaunch l = launchOf(p.gated ? "gatedLinearQuantGemv" : "linearQuantGemv", p, s, slices, chunk, kRows);
  return gpuLaunch(l, linearQuantGemv<F, kRows>, p.x.data, p.x.dtype, ragged, p.weight.as<char>(), recordOf(p.weight.dtype, p.k()), makeOutput(p), p.k(), slices, chunk);
}

}  // namespace

cudaError_t linearQuantGemvLaunch(const LinearProblem& p, const Step& s) {
  return withQuantFormat(p.weight.dtype, [&](auto format) {
    using F = decltype(format);
    if (p.rows() == 1) return launch<F, 1>(p, s);
    if (p.rows() == 2) return launch<F, 2>(p, s);
    return p.rows() <= 4 ? launch<F, 4>(p, s) : launch<F, 8>(p, s);
  });
}

}  // namespace quire
