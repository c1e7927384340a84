// A row of a table into a row of the output, by one warp: for embed and its twin of a group.
#pragma once
#include "quantized.h"

namespace quire {

// A table of elements W.
template <class W>
struct FloatTable {
  const W* data;
  template <class T>
  __device__ __forceinline__ void copyRow(T* to, int64_t row, int columns) const {
    for (int c = threadIdx.x % 32; c < columns; c += 32) to[c] = fromFloat<T>(toFloat(GPU_LOAD(data + row * columns + c)));
  }
};

// A table of records of format F. A lane takes 8 columns at a time.
template <class F>
struct QuantTable {
  const char* data;
  QuantRecord record;
  template <class T>
  __device__ __forceinline__ void copyRow(T* to, int64_t row, int columns) const {
    constexpr int kPack = Pack<T>::kSize;
    for (int c = threadIdx.x % 32 * 8; c < columns; c += 32 * 8) {
      float values[8];
      dequantize8<F>(values, data + row * record.bytes, record, c);
      if (columns % 8 == 0) {
#pragma unroll
        for (int i = 0; i < 8; i += kPack) {
          Pack<T> pack;
#pragma unroll
          for (int j = 0; j < kPack; j++) pack.values[j] = fromFloat<T>(values[i + j]);
          GPU_STORE(reinterpret_cast<Pack<T>*>(to + c + i), pack);
        }
      } else {
#pragma unroll
        for (int i = 0; i < 8; i++) {
          if (c + i < columns) to[c + i] = fromFloat<T>(values[i]);
        }
      }
    }
  }
};

// Calls f with the table as a kernel takes it.
template <class F>
cudaError_t withTable(const Tensor& table, F f) {
  if (isQuantized(table.dtype)) {
    return withQuantFormat(table.dtype, [&](auto format) { return f(QuantTable<decltype(format)>{table.as<char>(), recordOf(table.dtype, table.columns)}); });
  }
  return withDType(table.dtype, [&](auto* w) {
    using W = Element<decltype(w)>;
    return f(FloatTable<W>{table.as<W>()});
  });
}

}  // namespace quire
