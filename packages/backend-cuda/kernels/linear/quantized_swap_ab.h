// linear with a quantised weight on tensor cores: codes stream once through shared memory, straight from their records, and become
// numbers in registers; scales are taken in where the sums lie, in f32. So a product is that of the exact weights, and nothing of
// them is rounded to 16 bits.
//
// A block owns 16 kWeightTiles rows of the weight and 8 kRowTiles rows of x; its 8 warps own a slice of K each, with a ring of
// kStages stages of their own that no other warp waits for, and their sums are added in the order of the slices. A stage is 128
// bytes of codes of each row. The scales of the block's rows are copied once, in front, for the whole of K. A lane reads its columns
// of x (quantized_tile.h) from memory by 16 bytes, steps ahead. Rows of x beyond a block's are further blocks.
//
// q8 takes in the scale of a row at the end. The order of summation depends on K alone. x is f16 or bf16, with rows of 16 bytes.
// Structure after swap_ab.cu and Marlin (github.com/IST-DASLab/marlin), codes to numbers after its lop3 with a power of two.
#pragma once
#include "quantized_tile.h"

namespace quire::quantized {

constexpr int kWarps = kSlices;
constexpr int kThreads = 32 * kWarps;
constexpr int kStageBytes = 128;

template <int kRowTiles_, int kWeightTiles_, int kStages_, int kAhead_, int kBlocks_>
struct Shape {
  static constexpr int kRowTiles = kRowTiles_, kWeightTiles = kWeightTiles_, kStages = kStages_, kBlocks = kBlocks_;
  // Steps whose x is on its way.
  static constexpr int kAhead = kAhead_;
  static constexpr int kRows = 8 * kRowTiles, kWeightRows = 16 * kWeightTiles;
  // Sums of a warp, [rows][weight rows], in the memory of its ring when that has been used up.
  static constexpr int kSumStride = kWeightRows + 4;
  static constexpr int kRingBytes = kStages * kWeightRows * kStageBytes, kSumBytes = kRows * kSumStride * 4;
  static constexpr int kWarpBytes = kRingBytes > kSumBytes ? kRingBytes : kSumBytes;
};

// From the scales of one row in shared memory to those of the next: an odd number of 16 bytes, so that 8 rows lie in 8 groups of banks.
inline int scaleStride(const QuantRecord& r) { return r.scaleBytes / 16 % 2 == 1 ? r.scaleBytes : r.scaleBytes + 16; }

// Where 16-byte chunk `chunk` of row `row` of a stage lies: words of 8 rows and halves of 4 rows of one chunk are in different banks.
__device__ __forceinline__ int chunkAt(int row, int chunk) { return row * kStageBytes + (chunk ^ ((row & 3) << 1 | (row >> 2 & 1))) * 16; }

template <class T, class F, class S>
__global__ void __launch_bounds__(kThreads, S::kBlocks) linearQuantSwapAb(const T* x, const char* weight, QuantRecord record, int stride, LinearOutput out, int k, int length) {
  constexpr int kStageColumns = kStageBytes * 8 / F::kBits, kStageSteps = kStageColumns / kStep, kChunks = kStageBytes / 16;
  DYN_SHARED(char, shared);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int firstTile = blockIdx.x * S::kWeightTiles, firstRow = blockIdx.y * S::kRows;
  char* const scales = shared + kWarps * S::kWarpBytes;
  char* const ring = shared + warp * S::kWarpBytes;
  const int begin = warp * length, end = begin + length < k ? begin + length : k;
  const int steps = end > begin ? (end - begin + kStep - 1) / kStep : 0, stages = (steps + kStageSteps - 1) / kStageSteps;
  auto recordAt = [&](int local) -> const char* {
    const int row = weightRow(out, firstTile, local);
    return row >= 0 ? weight + row * record.bytes : nullptr;
  };

  // Codes of the slice, in bytes of a record.
  const int firstByte = begin * F::kBits / 8, sliceEnd = (begin + length) * F::kBits / 8, endByte = sliceEnd < record.codeBytes ? sliceEnd : record.codeBytes;
  auto copyCodes = [&](int stage) {
#pragma unroll
    for (int i = 0; i < S::kWeightRows * kChunks / 32; i++) {
      const int row = (i * 32 + lane) / kChunks, chunk = lane % kChunks, at = firstByte + stage * kStageBytes + chunk * 16;
      const char* source = at < endByte ? recordAt(row) : nullptr;
      cpAsync16(ring + stage % S::kStages * S::kWeightRows * kStageBytes + chunkAt(row, chunk), source != nullptr ? source + at : weight, source != nullptr ? 16 : 0);
    }
  };
  const int scaleChunks = record.scaleBytes / 16;
  for (int i = threadIdx.x; i < S::kWeightRows * scaleChunks; i += kThreads) {
    const char* source = recordAt(i / scaleChunks);
    const int at = i % scaleChunks * 16;
    cpAsync16(scales + i / scaleChunks * stride + at, source != nullptr ? source + record.codeBytes + at : weight, source != nullptr ? 16 : 0);
  }
  cpAsyncCommit();
  for (int stage = 0; stage < S::kStages; stage++) {
    if (stage < stages) copyCodes(stage);
    cpAsyncCommit();
  }
  launchDependents();
  waitForPrevious();

  uint4 ahead[S::kAhead][S::kRowTiles];
  auto loadX = [&](uint4 (&to)[S::kRowTiles], int step) {
    const int column = begin + step * kStep + lane % 4 * 8;
#pragma unroll
    for (int t = 0; t < S::kRowTiles; t++) {
      const int row = firstRow + 8 * t + lane / 4;
      to[t] = {0, 0, 0, 0};
      if (row < out.rows && column < end) to[t] = GPU_LOAD(reinterpret_cast<const uint4*>(x + static_cast<int64_t>(row) * k + column));
    }
  };
#pragma unroll
  for (int i = 0; i < S::kAhead; i++) loadX(ahead[i], i);
  cpAsyncWait<S::kStages>();
  __syncthreads();  // the scales have landed

  float sums[S::kWeightTiles][S::kRowTiles][4] = {};
  auto multiply = [&](const char* stage, int inStage, int step, const uint4 (&now)[S::kRowTiles]) {
    const int part = lane % 4, group = (begin + step * kStep) >> record.groupShift;
    auto codesAt = [&](int row) { return stage + (F::kBits == 4 ? chunkAt(row, inStage) + 4 * part : chunkAt(row, 2 * inStage + part / 2) + part % 2 * 8); };
    multiplyStep<T, F>(sums, now, codesAt, [&](int row) { return scaleBits<F::kZeros>(scales + row * stride, group); });
  };
  for (int stage = 0; stage < stages; stage++) {
    cpAsyncWait<S::kStages - 1>();
    __syncwarp();  // all lanes' copies of this stage have landed
    const char* const codes = ring + stage % S::kStages * S::kWeightRows * kStageBytes;
#pragma unroll 1
    for (int first = 0; first < kStageSteps; first += S::kAhead) {
#pragma unroll
      for (int i = 0; i < S::kAhead; i++) {
        const int step = stage * kStageSteps + first + i;
        if (step >= steps) break;
        uint4 now[S::kRowTiles];
#pragma unroll
        for (int t = 0; t < S::kRowTiles; t++) now[t] = ahead[i][t];
        loadX(ahead[i], step + S::kAhead);
        multiply(codes, first + i, step, now);
      }
    }
    __syncwarp();  // all have used it
    if (const int next = stage + S::kStages; next < stages) copyCodes(next);
    cpAsyncCommit();
  }

  cpAsyncWait<0>();
  __syncwarp();
  spreadSums(reinterpret_cast<float*>(ring), S::kSumStride, sums);
  __syncthreads();
  const int slices = (k + length - 1) / length;
  storeBlock<S::kWeightTiles, kThreads>(out, firstTile, firstRow, S::kRows, [&](int row, int local, float (&total)[4]) {
    addSlices(total, shared + (row * S::kSumStride + local) * 4, S::kWarpBytes, slices);
    if constexpr (F::kBits == 8) {
#pragma unroll
      for (int i = 0; i < 4; i++) total[i] *= *reinterpret_cast<const float*>(scales + (local + i) * stride);
    }
  });
}

template <class S>
size_t sharedBytes(const QuantRecord& r) { return kWarps * S::kWarpBytes + static_cast<size_t>(S::kWeightRows) * scaleStride(r); }

template <class T, class F, class S>
cudaError_t launch(const LinearProblem& p, const Step& s) {
  const QuantRecord record = recordOf(p.weight.dtype, p.k());
  const unsigned weightBlocks = ceilDiv(p.n(), (p.gated ? 8 : 16) * S::kWeightTiles), rowBlocks = ceilDiv(p.rows(), S::kRows);
  const GpuLaunch l{p.gated ? "gatedLinearQuantSwapAb" : "linearQuantSwapAb", {weightBlocks, rowBlocks}, {kThreads}, sharedBytes<S>(record), s.stream};
  return gpuLaunch(l, linearQuantSwapAb<T, F, S>, p.x.as<T>(), p.weight.as<char>(), record, scaleStride(record), makeOutput(p), p.k(), sliceColumns(p.k()));
}

// What a block has on every chip that Quire serves.
constexpr size_t kSharedBytes = size_t{163} << 10;
// Takes the first shape whose scales have room beside its rings.
template <class T, class F, class S, class... Others>
cudaError_t launchFirst(const LinearProblem& p, const Step& s) {
  if constexpr (sizeof...(Others) > 0) {
    if (sharedBytes<S>(recordOf(p.weight.dtype, p.k())) > kSharedBytes) return launchFirst<T, F, Others...>(p, s);
  }
  return launch<T, F, S>(p, s);
}

// Tall tiles read x less often, low ones make more blocks: tall where they fill the chip. The sums are the same.
using Lowest = Shape<1, 1, 3, 4, 2>;
template <class T, class F>
cudaError_t launchFor(const LinearProblem& p, const Step& s) {
  const int tiles = static_cast<int>(ceilDiv(p.weight.rows, 16));
  if (p.rows() <= 8) return tiles / 2 >= s.smCount ? launchFirst<T, F, Shape<1, 2, 2, 4, 2>, Lowest>(p, s) : launch<T, F, Lowest>(p, s);
  if (p.rows() <= 16) return launchFirst<T, F, Shape<2, 2, 2, 2, 1>, Lowest>(p, s);
  if (p.rows() <= 32) return launchFirst<T, F, Shape<4, 2, 2, 1, 1>, Lowest>(p, s);
  // Sums of q4 have scales beside them: those of four tiles of the weight would not fit a thread's registers.
  if constexpr (F::kBits == 8) {
    if (tiles / 4 >= s.smCount) return launchFirst<T, F, Shape<8, 4, 2, 1, 1>, Shape<8, 2, 2, 1, 1>, Lowest>(p, s);
  }
  return launchFirst<T, F, Shape<8, 2, 2, 1, 1>, Lowest>(p, s);
}

template <class T>
cudaError_t launchFor(const LinearProblem& p, const Step& s) {
  return withQuantFormat(p.weight.dtype, [&](auto format) { return launchFor<T, decltype(format)>(p, s); });
}

// In a source each, so that they are compiled side by side.
cudaError_t launchF16(const LinearProblem&, const Step&);
cudaError_t launchBf16(const LinearProblem&, const Step&);

}  // namespace quire::quantized
