// linear of few rows, with norms in front or without, on tensor cores: the part of one block, for normed.cu and for persistent steps.
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
#pragma once
#include "normed.h"
#include "tile.h"

namespace quire::product {

constexpr int kWarps = kSlices, kThreads = 32 * kWarps;
constexpr int kK = 64, kTile = 16 * kK;
constexpr int kSumStride = 16 + 4, kWarpSums = kNormedRows * kSumStride;
// Stages of a ring.
constexpr int kDeep = 6, kShallow = 4;
// What a block may have on every chip, less its static arrays.
constexpr size_t kMostShared = 162 * 1024;

// What stands in front of the product, as kernels take it; what is null is left out.
struct InputRows {
  RowNorm norm;
  const void* residual;
  void* sum;
  RowNorm second;
};

// What a product works on, as kernels take it.
template <class T>
struct Product {
  const T *x, *weight;
  LinearOutput out;
  InputRows in;
  int k, length, tiles, slots;
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
__host__ __device__ inline int slotsOf(int rows) { return rows <= 2 ? rows : rows <= 4 ? 4 : 8; }

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

// Brings the rows as they are; places beyond them become 0. Four packs of a thread are on their way at once.
template <class T>
__device__ __forceinline__ void copyRows(T* rows, int slots, int used, int k, const T* x) {
  constexpr int kAtOnce = 4;
  const int packs = k / 8, places = (k + kK - 1) / kK * 8;
#pragma unroll 1
  for (int first = threadIdx.x; first < slots * places; first += kAtOnce * kThreads) {
    Pack<T> values[kAtOnce] = {};
#pragma unroll
    for (int u = 0; u < kAtOnce; u++) {
      const int i = first + u * kThreads, row = i / places, pack = i % places;
      if (row < used && pack < packs) values[u] = GPU_LOAD(reinterpret_cast<const Pack<T>*>(x) + static_cast<int64_t>(row) * packs + pack);
    }
#pragma unroll
    for (int u = 0; u < kAtOnce; u++) {
      if (const int i = first + u * kThreads; i < slots * places) *packAt(rows, slots, i / places, i % places) = values[u];
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

// The part of one block of a product, in two halves: fill() asks for the first weights, which depend on no other kernel; run() does
// the rest, and leaves no copy of its own under way. kGeneral: there may be no norm, and no tile for this block.
template <class T, int kStages, bool kGeneral>
class ProductPart {
 public:
  __device__ __forceinline__ ProductPart(const Product<T>& product, char* shared)
      : p_(product), at_(placesOf(kStages, product.slots, product.k, product.in)), shared_(shared), ring_(reinterpret_cast<T*>(shared) + threadIdx.x / 32 * kStages * kTile) {
    const int warp = threadIdx.x / 32;
    begin_ = warp * p_.length;
    const int end = begin_ + p_.length < p_.k ? begin_ + p_.length : p_.k;
    steps_ = end > begin_ ? (end - begin_ + kK - 1) / kK : 0;
    own_ = (p_.tiles - static_cast<int>(blockIdx.x) + static_cast<int>(gridDim.x) - 1) / static_cast<int>(gridDim.x);
  }

  __device__ __forceinline__ void fill() const {
    if (kGeneral && own_ == 0) return;
    copyBytes(shared_ + at_.weight, p_.in.norm.weight, at_.bias - at_.weight);
    copyBytes(shared_ + at_.bias, p_.in.norm.bias, at_.second - at_.bias);
    copyBytes(shared_ + at_.second, p_.in.second.weight, at_.end - at_.second);
    cpAsyncCommit();
    for (int i = 0; i < kStages; i++) {
      if (i < own_ * steps_) copyWeights(i);
      cpAsyncCommit();
    }
  }

  // `rowSums` and `stats` are of kNormedRows rows. Calls atEnd() when all threads have left the ring and the vectors of the norms.
  template <class AtEnd>
  __device__ __forceinline__ void run(float* rowSums, NormStats* stats, AtEnd atEnd) const {
    if (kGeneral && own_ == 0) return atEnd();
    T* const rows = reinterpret_cast<T*>(shared_ + at_.rows);
    makeRows(rows, rowSums, stats);
    int i = 0;
    for (int n = 0; n < own_; n++) {
      float sums[1][1][4] = {};
      for (int step = 0; step < steps_; step++, i++) {
        cpAsyncWait<kStages - 1>();
        __syncwarp();  // all lanes' copies of this stage have landed
        multiplyTile(sums, ring_ + i % kStages * kTile, rows + (begin_ / kK + step) * p_.slots * kK, p_.slots);
        __syncwarp();  // all have used it
        if (i + kStages < own_ * steps_) copyWeights(i + kStages);
        cpAsyncCommit();
      }
      float* const all = reinterpret_cast<float*>(shared_ + at_.sums) + n % 2 * kWarps * kWarpSums;
      if (steps_ > 0) spreadSums(all + threadIdx.x / 32 * kWarpSums, kSumStride, sums);
      __syncthreads();
      if (n + 1 == own_) atEnd();
      const int slices = (p_.k + p_.length - 1) / p_.length;
      storeBlock<1, kThreads>(p_.out, tileOf(n), 0, p_.out.rows, [&](int row, int local, float (&total)[4]) {
        addSlices(total, reinterpret_cast<const char*>(all + row * kSumStride + local), kWarpSums * 4, slices);
      });
    }
  }

 private:
  __device__ __forceinline__ int tileOf(int n) const { return static_cast<int>(blockIdx.x + n * gridDim.x); }

  __device__ __forceinline__ void copyWeights(int i) const {
    copyTile<kK, 16, 32>(ring_ + i % kStages * kTile, threadIdx.x % 32, begin_ + i % steps_ * kK, p_.k, p_.weight, [&](int local) -> const T* {
      const int row = weightRow(p_.out, tileOf(i / steps_), local);
      return row >= 0 ? p_.weight + static_cast<int64_t>(row) * p_.k : nullptr;
    });
  }

  // What is multiplied, rounded, in shared memory.
  __device__ __forceinline__ void makeRows(T* rows, float* rowSums, NormStats* stats) const {
    const int k = p_.k, slots = p_.slots, used = p_.out.rows;
    if constexpr (kGeneral) {
      if (p_.in.norm.weight == nullptr) {
        copyRows(rows, slots, used, k, p_.x);
        __syncthreads();
        return;
      }
    }
    auto read = [&](int row, int pack) {
      const Pack<T> values = GPU_LOAD(reinterpret_cast<const Pack<T>*>(p_.x + static_cast<int64_t>(row) * k) + pack);
      return *packAt(rows, slots, row, pack) = values;
    };
    auto again = [&](int row, int pack) { return *packAt(rows, slots, row, pack); };
    findStats<kWarps, T>(p_.in.norm, used, k, stats, rowSums, read, again);
    cpAsyncWait<kStages>();
    __syncthreads();  // all threads' copies of the norms' vectors have landed
    T* const sum = blockIdx.x == 0 ? static_cast<T*>(p_.in.sum) : nullptr;
    normRows(p_.in.norm, rows, slots, used, k, stats, shared_ + at_.weight, shared_ + at_.bias, static_cast<const T*>(p_.in.residual), sum);
    __syncthreads();
    if (p_.in.second.weight == nullptr) return;
    findStats<kWarps, T>(p_.in.second, used, k, stats, rowSums, again, again);
    normRows<T>(p_.in.second, rows, slots, used, k, stats, shared_ + at_.second, nullptr, nullptr, nullptr);
    __syncthreads();
  }

  const Product<T>& p_;
  const Places at_;
  char* const shared_;
  T* const ring_;
  int begin_, steps_, own_;
};

// As kernels take it.
inline RowNorm rowNorm(const InputNorm& n) { return {n.weight.data, n.bias.data, n.weight.dtype, n.eps, n.centred}; }
inline InputRows inputRows(const NormedInput& in) { return {rowNorm(in.norm), in.residual.data, in.sum.data, rowNorm(in.second)}; }

inline int tilesOf(const LinearProblem& p) { return static_cast<int>(ceilDiv(p.n(), p.gated ? 8 : 16)); }
template <class T>
Product<T> productOf(const NormedProblem& problem) {
  const LinearProblem& p = problem.linear;
  return {p.x.as<T>(), p.weight.as<T>(), makeOutput(p), inputRows(problem.input), p.k(), sliceLength(p.k()), tilesOf(p), slotsOf(p.rows())};
}
// Shared memory of a block.
inline size_t sharedBytes(const NormedProblem& p, int stages) { return placesOf(stages, slotsOf(p.linear.rows()), p.linear.k(), inputRows(p.input)).end; }

}  // namespace quire::product
