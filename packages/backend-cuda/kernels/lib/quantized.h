// Weights in few bits: where the parts of a record lie, and its codes as numbers. docs/quantization.md gives the formats, the
// contract's dtypes.ts every bit.
#pragma once
#include <type_traits>

#include "elements.h"
#include "pairs.h"

namespace quire {

// Of one row of K columns. Codes come first, then the scales; both begin at a multiple of 16 bytes.
struct QuantRecord {
  // From one record to the next.
  int64_t bytes;
  // Of the codes, which fill up to 16 bytes.
  int codeBytes;
  // Of the scales, filled up likewise.
  int scaleBytes;
  // A scale is of 1 << groupShift columns; q8: of the row.
  int groupShift;
};

// q8, q4 without and with zero points. Groups of 32 and of 128 columns differ in their record alone.
template <int kBits_, bool kZeros_>
struct QuantFormat {
  static constexpr int kBits = kBits_;
  static constexpr bool kZeros = kZeros_;
  // Columns whose codes are 16 bytes.
  static constexpr int kPack = 128 / kBits;
  // q4: bytes of the scale of a group, and its zero point.
  static constexpr int kScaleBytes = kZeros ? 4 : 2;
};

inline bool isQuantized(DType t) { return t >= DType::q8 && t <= DType::q4_128z; }

inline QuantRecord recordOf(DType dtype, int64_t columns) {
  auto fill = [](int64_t bytes, int64_t unit) { return (bytes + unit - 1) / unit * unit; };
  const bool zeros = dtype == DType::q4_32z || dtype == DType::q4_128z;
  const int shift = dtype == DType::q4_32 || dtype == DType::q4_32z ? 5 : 7;
  const int64_t codes = fill(dtype == DType::q8 ? columns : columns / 2, 16);
  const int64_t scales = dtype == DType::q8 ? 4 : (columns >> shift) * (zeros ? 4 : 2);
  return {fill(codes + scales, 32), static_cast<int>(codes), static_cast<int>(fill(scales, 16)), shift};
}

// Calls f with a value of the format.
template <class F>
cudaError_t withQuantFormat(DType dtype, F f) {
  switch (dtype) {
    case DType::q8: return f(QuantFormat<8, false>());
    case DType::q4_32:
    case DType::q4_128: return f(QuantFormat<4, false>());
    case DType::q4_32z:
    case DType::q4_128z: return f(QuantFormat<4, true>());
    default: break;
  }
  return cudaErrorInvalidValue;
}

__device__ __forceinline__ float halfFromBits(uint32_t bits) {
  const auto low = static_cast<uint16_t>(bits);
  __half h;
  __builtin_memcpy(&h, &low, 2);
  return toFloat(h);
}

// Of a group of q4 codes: value = scale (code - zero).
struct GroupScale {
  float scale, zero;
};
// From the bits of a scale: one f16, or with kZeros a pair of them.
template <bool kZeros>
__device__ __forceinline__ GroupScale groupScale(uint32_t bits) {
  return {halfFromBits(bits), kZeros ? halfFromBits(bits >> 16) : 8.0f};
}
// The bits of the scale of group `group` of those from `scales` on.
template <bool kZeros>
__device__ __forceinline__ uint32_t scaleBits(const char* scales, int group) {
  return kZeros ? reinterpret_cast<const uint32_t*>(scales)[group] : reinterpret_cast<const uint16_t*>(scales)[group];
}

// Small integers as floats: in the lowest bits of 2^23.
__device__ __forceinline__ float smallInteger(uint32_t code, float offset) { return __uint_as_float(0x4b000000u | code) - (8388608.0f + offset); }

// Codes of 4 columns along K as numbers, less the zero point: from byte 0 on of a word (q8), or of half `half` of a word (q4).
template <class F>
__device__ __forceinline__ void codesOf4(float (&values)[4], uint32_t word, [[maybe_unused]] int half, [[maybe_unused]] float zero) {
  if constexpr (F::kBits == 8) {
    const uint32_t bytes = word ^ 0x80808080u;
#pragma unroll
    for (int i = 0; i < 4; i++) values[i] = smallInteger(bytes >> 8 * i & 255, 128);
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) values[i] = smallInteger(word >> (8 * half + i / 2 * 4 + i % 2 * 16) & 15, zero);
  }
}

// values[i] = value of column `column` + i of a record, i < 8; column is a multiple of 8. What lies beyond K has no meaning.
template <class F>
__device__ __forceinline__ void dequantize8(float (&values)[8], const char* record, const QuantRecord& r, int column) {
  const char* const scales = record + r.codeBytes;
  uint2 words{0, 0};
  GroupScale group{1, 0};
  if constexpr (F::kBits == 8) {
    words = GPU_LOAD(reinterpret_cast<const uint2*>(record + column));
    group.scale = *reinterpret_cast<const float*>(scales);
  } else {
    words.x = words.y = GPU_LOAD(reinterpret_cast<const uint32_t*>(record) + column / 8);
    group = groupScale<F::kZeros>(scaleBits<F::kZeros>(scales, column >> r.groupShift));
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float four[4];
    codesOf4<F>(four, half == 0 ? words.x : words.y, half, group.zero);
#pragma unroll
    for (int i = 0; i < 4; i++) values[4 * half + i] = group.scale * four[i];
  }
}

// ---------------------------------------------------------------------------------------------------- operands of tensor cores
// A power of two, in both halves, in whose lowest bits a code of up to 7 (bf16) or 10 bits (f16) is a number: 128 or 1024.
template <class T>
constexpr uint32_t kCodeBase = std::is_same_v<T, __half> ? 0x64006400u : 0x43004300u;

// What is taken from kCodeBase with a q4 code in it.
template <class T>
__device__ __forceinline__ uint32_t zeroPair(float zero) {
  const float base = std::is_same_v<T, __half> ? 1024.0f : 128.0f;
  return packPair<T>(base + zero, base + zero);
}
// Columns 2 pair and 2 pair + 1 of the 8 in a word of q4 codes: code - zero, exact.
template <class T>
__device__ __forceinline__ uint32_t codePair4(uint32_t word, int pair, uint32_t zeros) {
  return subtractPairs<T>((word >> 4 * pair & 0x000f000fu) | kCodeBase<T>, zeros);
}
// Bytes 2 pair and 2 pair + 1 of a word of q8 codes, exact: seven bits, less the 128 that the eighth adds to the base, in bf16 too.
template <class T>
__device__ __forceinline__ uint32_t codePair8(uint32_t word, int pair) {
  const uint32_t half = word >> 16 * pair, bytes = (half & 0xffu) | (half & 0xff00u) << 8;
  return subtractPairs<T>((bytes & 0x007f007fu) | kCodeBase<T>, (bytes & 0x00800080u) | kCodeBase<T>);
}

}  // namespace quire
