// linear of few rows with norms in front, on tensor cores, in one launch: rmsNorm or layerNorm, where there is one the sum with a
// residual and the rmsNorm of that, then the product.
//
// One block for each multiprocessor: it makes the rows of the product in shared memory once, where they stay, and takes tiles of 16
// rows of the weight one after another. Its 8 warps own a slice of K each, with a ring of kStages tiles that runs on from one tile of
// the output to the next, and their sums are added in the order of the slices: a row has the bits that the kernels of the norms, of
// add and swapAb give it. Weights are on their way while x is normed, which costs no time of its own as long as the ring covers it. A
// norm for each tile of the output, as in a grid of swapAb's, would be hundreds of norms. The sum, where others read it, is stored by
// block 0.
//
// x and weight are both f16 or both bf16. Norms that every block of a product repeats: after calm (github.com/zeux/calm,
// src/infer.cu), which applies the scale behind the sums; here what is multiplied is rounded as the norm's own output.
#include "normed.h"
#include "tile.h"

namespace quire {
namespace {

constexpr int kWarps = kSlices, kThreads = 32 * kWarps;
constexpr int kK = 64, kTile = 16 * kK;
constexpr int kSumStride = 16 + 4, kWarpSums = kNormedRows * kSumStride;
// Stages of a ring.
constexpr int kDeep = 6, kShallow = 4;
// What a block may have on every chip, less its static arrays.
constexpr size_t kMostShared = 162 * 1024;

// What stands in front of the product, as the kernel takes it; what is null is left out.
struct InputRows {
  RowNorm norm;
  const void* residual;
  void* sum;
  RowNorm second;
};

// Where what lies in shared memory, in bytes: from `rows` on the rows, then the vectors of the norms. Sums of the product are there
// twice: while those of a tile are read, the next are written.
struct Places {
  int sums, rows, weight, bias, second, end;
};
__host__ __device__ inline int vectorBytes(const RowNorm& norm, const void* vector, int k) { return vector == nullptr ? 0 : k * (norm.dtype == DType::f32 ? 4 : 2); }
__host__ __device__ inline Places placesOf(int stages, int slots, int k, const InputRows& in) {
  const int sums = kWarps * stages * kTile * 2, rows = sums + 2 * kWarps * kWarpSums * 4;
  const int weight = rows + (k + kK - 1) / kK * kK * slots * 2, bias = weight + vectorBytes(in.norm, in.norm.weight, k);
  const int second = bias + vectorBytes(in.norm, in.norm.bias, k);
  return {sums, rows, weight, bias, second, second + vectorBytes(in.second, in.second.weight, k)};
}
// Rows of x that have a place: a power of two.
int slotsOf(int rows) { return rows <= 2 ? rows : rows <= 4 ? 4 : 8; }

// The place of a pack of a row: tiles of `slots` rows of 64 elements, as ldmatrix asks for them.
template <class T>
__device__ __forceinline__ Pack<T>* packAt(T* rows, int slots, int row, int pack) {
  return reinterpret_cast<Pack<T>*>(rows + pack / 8 * slots * kK + swizzled<kK>(row, pack % 8));
}

__device__ __forceinline__ void copyBytes(char* to, const void* from, int bytes) {
  for (int i = threadIdx.x * 16; i < bytes; i += kThreads * 16) cpAsync16(to + i, static_cast<const char*>(from) + i);
}

// The elements beside a pack of x of a vector in shared memory.
template <class T>
__device__ __forceinline__ void loadBeside(const char* vector, DType dtype, int pack, float (&to)[8]) {
  withElement(dtype, [&](auto* t) {
    const auto values = reinterpret_cast<const Beside<Element<decltype(t)>, T>*>(vector)[pack];
#pragma unroll
    for (int i = 0; i < 8; i++) to[i] = toFloat(values.values[i]);
  });
}

// sums += weights (16 rows) x^T (8 rows) over one tile of 64 elements. x has slots of them, a power of two, which stand for all 8.
template <class T>
__device__ __forceinline__ void multiplyTile(float (&sums)[1][1][4], const T* weights, const T* x, int slots) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int step = 0; step < kK / 16; step += 2) {
    // Four matrices are x in two steps.
    uint32_t pairs[4];
    ldmatrixX4<false>(pairs, x + swizzled<kK>(lane % slots, 2 * step + lane / 8));
#pragma unroll
    for (int i = 0; i < 2; i++) {
      uint32_t a[4];
      ldmatrixX4<false>(a, weights + swizzled<kK>(lane % 16, 2 * (step + i) + lane / 16));
      const uint32_t b[2] = {pairs[2 * i], pairs[2 * i + 1]};
      mma16816<T>(sums[0][0], a, b);
    }
  }
}

// Norms the packs of rows in place, adds the residual to them, and stores them into sum; both may be null. Packs beyond the rows
// become 0. Four residuals of a thread are on their way at once.
template <class T>
__device__ __forceinline__ void normRows(const RowNorm& norm, T* rows, int slots, int used, int k, const NormStats* stats, const char* weight, const char* bias, const T* residual, T* sum) {
  constexpr int kAtOnce = 4;
  const int packs = k / 8, places = (k + kK - 1) / kK * 8;
#pragma unroll 1
  for (int first = threadIdx.x; first < slots * places; first += kAtOnce * kThreads) {
    Pack<T> added[kAtOnce];
    auto isWithin = [&](int i) { return i < slots * places && i / places < used && i % places < packs; };
    auto offset = [&](int i) { return static_cast<int64_t>(i / places) * packs + i % places; };
#pragma unroll
    for (int u = 0; u < kAtOnce; u++) {
      if (const int i = first + u * kThreads; residual != nullptr && isWithin(i)) added[u] = GPU_LOAD(reinterpret_cast<const Pack<T>*>(residual) + offset(i));
    }
#pragma unroll
    for (int u = 0; u < kAtOnce; u++) {
      const int i = first + u * kThreads, row = i / places, pack = i % places;
      if (i >= slots * places) break;
      Pack<T> values{};
      if (isWithin(i)) {
        const NormStats s = stats[row];
        float weights[8], biases[8] = {};
        loadBeside<T>(weight, norm.dtype, pack, weights);
        if (norm.bias != nullptr) loadBeside<T>(bias, norm.dtype, pack, biases);
        values = *packAt(rows, slots, row, pack);
#pragma unroll
        for (int j = 0; j < 8; j++) {
          values.values[j] = fromFloat<T>(normed(norm, toFloat(values.values[j]), s, weights[j], biases[j]));
          if (residual != nullptr) values.values[j] = fromFloat<T>(toFloat(added[u].values[j]) + toFloat(values.values[j]));
        }
        if (sum != nullptr) GPU_STORE(reinterpret_cast<Pack<T>*>(sum) + offset(i), values);
      }
      *packAt(rows, slots, row, pack) = values;
    }
  }
}

template <class T, int kStages>
__global__ void __launch_bounds__(kThreads, 1) linearNormed(const T* x, const T* weight, LinearOutput out, InputRows in, int k, int length, int tiles, int slots) {
  DYN_SHARED(char, shared);
  SHARED(float, rowSums, kNormedRows * kSumsOfRow);
  SHARED(NormStats, stats, kNormedRows);
  const Places at = placesOf(kStages, slots, k, in);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  T* const ring = reinterpret_cast<T*>(shared) + warp * kStages * kTile;
  T* const rows = reinterpret_cast<T*>(shared + at.rows);
  const int begin = warp * length, end = begin + length < k ? begin + length : k;
  const int steps = end > begin ? (end - begin + kK - 1) / kK : 0, slices = (k + length - 1) / length;
  const int own = (tiles - static_cast<int>(blockIdx.x) + static_cast<int>(gridDim.x) - 1) / static_cast<int>(gridDim.x);

  auto tileOf = [&](int n) { return static_cast<int>(blockIdx.x + n * gridDim.x); };
  auto copyWeights = [&](int i) {
    copyTile<kK, 16, 32>(ring + i % kStages * kTile, lane, begin + i % steps * kK, k, weight, [&](int local) -> const T* {
      const int row = weightRow(out, tileOf(i / steps), local);
      return row >= 0 ? weight + static_cast<int64_t>(row) * k : nullptr;
    });
  };

  copyBytes(shared + at.weight, in.norm.weight, at.bias - at.weight);
  copyBytes(shared + at.bias, in.norm.bias, at.second - at.bias);
  copyBytes(shared + at.second, in.second.weight, at.end - at.second);
  cpAsyncCommit();
  for (int i = 0; i < kStages; i++) {
    if (i < own * steps) copyWeights(i);
    cpAsyncCommit();
  }
  launchDependents();
  waitForPrevious();
  auto read = [&](int row, int pack) {
    const Pack<T> values = GPU_LOAD(reinterpret_cast<const Pack<T>*>(x + static_cast<int64_t>(row) * k) + pack);
    return *packAt(rows, slots, row, pack) = values;
  };
  auto again = [&](int row, int pack) { return *packAt(rows, slots, row, pack); };
  findStats<kWarps, T>(in.norm, out.rows, k, stats, rowSums, read, again);
  cpAsyncWait<kStages>();
  __syncthreads();  // all threads' copies of the norms' vectors have landed
  T* const sum = blockIdx.x == 0 ? static_cast<T*>(in.sum) : nullptr;
  normRows(in.norm, rows, slots, out.rows, k, stats, shared + at.weight, shared + at.bias, static_cast<const T*>(in.residual), sum);
  __syncthreads();
  if (in.second.weight != nullptr) {
    findStats<kWarps, T>(in.second, out.rows, k, stats, rowSums, again, again);
    normRows<T>(in.second, rows, slots, out.rows, k, stats, shared + at.second, nullptr, nullptr, nullptr);
    __syncthreads();
  }

  int i = 0;
  for (int n = 0; n < own; n++) {
    float sums[1][1][4] = {};
    for (int step = 0; step < steps; step++, i++) {
      cpAsyncWait<kStages - 1>();
      __syncwarp();  // all lanes' copies of this stage have landed
      multiplyTile(sums, ring + i % kStages * kTile, rows + (begin / kK + step) * slots * kK, slots);
      __syncwarp();  // all have used it
      if (i + kStages < own * steps) copyWeights(i + kStages);
      cpAsyncCommit();
    }
    float* const all = reinterpret_cast<float*>(shared + at.sums) + n % 2 * kWarps * kWarpSums;
    if (steps > 0) spreadSums(all + warp * kWarpSums, kSumStride, sums);
    __syncthreads();
    storeBlock<1, kThreads>(out, tileOf(n), 0, out.rows, [&](int row, int local, float (&total)[4]) {
      addSlices(total, reinterpret_cast<const char*>(all + row * kSumStride + local), kWarpSums * 4, slices);
    });
  }
}

struct Problem {
  LinearProblem linear;
  NormedInput input;
  InputRows rows() const { return {rowNorm(input.norm), input.residual.data, input.sum.data, rowNorm(input.second)}; }
};
Problem problemOf(const Linear& a, const NormedInput& input) { return {{a.x, a.weight, a.out, a.bias, a.residual, a.activation, a.outColumn}, input}; }
Problem problemOf(const GatedLinear& a, const NormedInput& input) { return {{a.x, a.weight, a.out, a.bias, {}, a.activation, 0, true}, input}; }

size_t sharedBytes(const Problem& p, int stages) { return placesOf(stages, slotsOf(p.linear.rows()), p.linear.k(), p.rows()).end; }

template <class T, int kStages>
cudaError_t launchWith(const Problem& problem, const Step& s) {
  const LinearProblem& p = problem.linear;
  const int tiles = static_cast<int>(ceilDiv(p.n(), p.gated ? 8 : 16));
  const unsigned blocks = static_cast<unsigned>(tiles < s.smCount ? tiles : s.smCount);
  const GpuLaunch l{p.gated ? "gatedLinearNormed" : "linearNormed", {blocks}, {kThreads}, sharedBytes(problem, kStages), s.stream};
  return gpuLaunch(l, linearNormed<T, kStages>, p.x.as<T>(), p.weight.as<T>(), makeOutput(p), problem.rows(), p.k(), sliceLength(p.k()), tiles, slotsOf(p.rows()));
}

// The deeper ring where it leaves room for x.
template <class T>
cudaError_t launchFor(const Problem& p, const Step& s) {
  return sharedBytes(p, kDeep) <= kMostShared ? launchWith<T, kDeep>(p, s) : launchWith<T, kShallow>(p, s);
}

bool is16Bit(DType t) { return t == DType::f16 || t == DType::bf16; }
bool isFloat(DType t) { return t == DType::f32 || is16Bit(t); }
// As in linear.cu, so that the product has the bits that it has there.
bool hasTensorCores(const LinearProblem& p) { return is16Bit(p.x.dtype) && p.x.dtype == p.weight.dtype; }

bool hasNormPacks(const Problem& p) {
  const NormedInput& in = p.input;
  const std::initializer_list<const void*> pointers = {p.linear.x.data, in.norm.weight.data, in.norm.bias.data, in.residual.data, in.sum.data, in.second.weight.data};
  return p.linear.x.dtype == DType::f32 ? hasRowPacks<float>(p.linear.k(), pointers) : hasRowPacks<__half>(p.linear.k(), pointers);
}

bool isTaken(const Problem& problem) {
  const LinearProblem& p = problem.linear;
  const NormedInput& in = problem.input;
  if (p.rows() == 0 || p.rows() > kNormedRows || p.n() == 0) return false;
  if (!isFloat(p.x.dtype) || !isFloat(p.weight.dtype) || !isFloat(in.norm.weight.dtype) || !isFloat(in.second.weight.dtype)) return false;
  if (!hasWideRows(p) || !hasNormPacks(problem)) return false;
  if (!hasTensorCores(p)) return !in.residual && !in.sum && !in.second.weight;
  return !in.second.centred && sharedBytes(problem, kShallow) <= kMostShared;
}

cudaError_t launch(const Problem& p, const Step& s) {
  if (!hasTensorCores(p.linear)) return linearGemvLaunch(p.linear, rowNorm(p.input.norm), s);
  return p.linear.weight.dtype == DType::f16 ? launchFor<__half>(p, s) : launchFor<__nv_bfloat16>(p, s);
}

}  // namespace

bool takesNormed(const Linear& a, const NormedInput& input) { return isTaken(problemOf(a, input)); }
bool takesNormed(const GatedLinear& a, const NormedInput& input) { return isTaken(problemOf(a, input)); }

cudaError_t normedLinear(const Linear& a, const NormedInput& input, const Step& s) { return launch(problemOf(a, input), s); }
cudaError_t normedLinear(const GatedLinear& a, const NormedInput& input, const Step& s) { return launch(problemOf(a, input), s); }

}  // namespace quire
