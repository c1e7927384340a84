// Launches of the hot kernels, with what their algorithms must move and compute at least. Two programs run them: one records
// what nvcc's host code asks the runtime for, without a GPU, at the shapes of real models; the other executes them on the
// emulator, small, and counts accesses to device memory.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace budgets {

// What a request of this memory costs at real shapes. streamed: traffic, each time, as it is too large for the second cache.
// shared: traffic once, as blocks that work at one time read the same. cached: as shared, and mostly in the second cache already.
enum class Traffic { streamed, shared, cached };

// Both programs provide these. Memory is zero and lives until the program ends; it may be touched only if executes().
void* allocate(size_t bytes, Traffic traffic);
bool executes();

enum class Scale { full, small };
// SMs of the emulated chip. Small sizes take the same instance of a kernel there as the real ones on the real chip.
constexpr int kEmulatedSms = 4;

struct Case {
  // The hot kernel and its form, and the shape.
  std::string kernel, shape;
  // Device memory that the algorithm reads and writes, each byte once; multiplications and additions.
  double bytes, flops;
  std::function<cudaError_t(int smCount)> launch;
  // Of a kernel on warpgroup products, which compute capability 9.0 has alone.
  bool wgmma = false;
};

// `smCount` is that of the real chip, at either scale.
std::vector<Case> makeCases(Scale scale, int smCount);

// By family.
std::vector<Case> linearCases(Scale scale, int smCount);
std::vector<Case> attentionCases(Scale scale);
std::vector<Case> rowCases(Scale scale);
std::vector<Case> samplerCases(Scale scale);
std::vector<Case> loraCases(Scale scale);
std::vector<Case> persistentCases(Scale scale, int smCount);

inline quire::Tensor makeTensor(quire::DType dtype, int rows, int64_t columns, Traffic traffic) {
  const size_t size = dtype == quire::DType::f32 || dtype == quire::DType::u32 ? 4 : 2;
  return {allocate(size * rows * columns, traffic), dtype, rows, columns};
}
inline double bytesOf(const quire::Tensor& t) {
  return (t.dtype == quire::DType::f32 || t.dtype == quire::DType::u32 ? 4.0 : 2.0) * t.rows * t.columns;
}
// Writes value(i) into every element of a tensor of words.
template <class T, class F>
void fill(const quire::Tensor& t, F value) {
  if (!executes()) return;
  for (int64_t i = 0; i < t.rows * t.columns; i++) t.as<T>()[i] = value(i);
}

inline std::string text(int number) { return std::to_string(number); }

}  // namespace budgets
