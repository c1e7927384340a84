// A row of a matrix in the registers of one block, for the norms: each thread holds up to kPacks packs of 16 bytes, all of whose
// loads are on their way at once.
#pragma once
#include <initializer_list>
#include <type_traits>

#include "elements.h"

namespace quire {

constexpr int kRowThreads = 512;

// As many elements of W as 16 bytes of T hold.
template <class W, class T>
struct alignas(sizeof(W) < sizeof(T) ? 16 * sizeof(W) / sizeof(T) : 16) Beside {
  W values[Pack<T>::kSize];
};

// The pack of a thread in round i.
__device__ __forceinline__ int packOf(int i) { return i * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x); }

// to[i] = the elements of W that belong to this thread's packs of T; what lies beyond the row stays as it is.
template <class T, class W, int kPacks>
__device__ __forceinline__ void loadPacks(Beside<W, T> (&to)[kPacks], const W* row, int packs) {
  const auto* from = reinterpret_cast<const Beside<W, T>*>(row);
#pragma unroll
  for (int i = 0; i < kPacks; i++) {
    if (packOf(i) < packs) to[i] = GPU_LOAD(from + packOf(i));
  }
}
template <class T>
__device__ __forceinline__ void storePack(T* row, int i, const Beside<T, T>& pack) {
  auto* to = reinterpret_cast<Beside<T, T>*>(row);
  GPU_STORE(to + packOf(i), pack);
}

// Warps of a block that norms a row of so many packs.
__host__ __device__ __forceinline__ int warpsOfRow(int packs) { return packs < kRowThreads ? (packs + 31) / 32 : kRowThreads / 32; }

// Rows of so many columns of T fit a block's registers. `pointers` are the addresses of rows; null ones do not count.
template <class T>
bool hasRowPacks(int64_t columns, std::initializer_list<const void*> pointers) {
  bool aligned = columns % Pack<T>::kSize == 0;
  for (const void* p : pointers) aligned &= reinterpret_cast<uintptr_t>(p) % 16 == 0;
  return aligned && columns / Pack<T>::kSize <= 4 * kRowThreads;
}

// Calls wide(kPacks as an integral constant, threads) where hasRowPacks, and narrow() elsewhere.
template <class T, class Wide, class Narrow>
cudaError_t withRowPacks(int64_t columns, std::initializer_list<const void*> pointers, Wide wide, Narrow narrow) {
  if (!hasRowPacks<T>(columns, pointers)) return narrow();
  const int packs = static_cast<int>(columns / Pack<T>::kSize);
  const unsigned threads = 32 * warpsOfRow(packs), rounds = ceilDiv(packs, threads);
  if (rounds <= 1) return wide(std::integral_constant<int, 1>(), threads);
  return rounds == 2 ? wide(std::integral_constant<int, 2>(), threads) : wide(std::integral_constant<int, 4>(), threads);
}

}  // namespace quire
