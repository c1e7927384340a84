// Tiles of cached codes. A row of codes has half the bytes of one of 16-bit elements: it moves and lies in shared memory as a row
// of half as many elements would (tiles.h). Codes become 16-bit elements without rounding; their scales are applied in f32, to
// the scores of a position and to its weight.
#pragma once
#include "../lib/code_pairs.h"
#include "../lib/kv_codes.h"
#include "../lib/lane.h"
#include "tiles.h"

namespace quire {

// What a row of a cache is in tiles.h.
template <class C, int kHeadDim>
constexpr int kRowElements = kHoldsCodes<C> ? kHeadDim / 2 : kHeadDim;
template <class C>
__device__ __forceinline__ auto tileElements(const KvCache<C>& cache) {
  if constexpr (kHoldsCodes<C>) return reinterpret_cast<const uint16_t*>(cache.data);
  else return static_cast<const C*>(cache.data);
}

// Pairs of T from the four codes of a word: of neighbours, bytes 0 1 and 2 3, or of every second one, bytes 0 2 and 1 3.
enum class Pairing { neighbours, alternate };
template <class T, class C, Pairing kPairing>
__device__ __forceinline__ void widen(uint32_t word, uint32_t& first, uint32_t& second) {
  constexpr bool kHalf = std::is_same_v<T, __half>, kNeighbours = kPairing == Pairing::neighbours;
  if constexpr (std::is_same_v<C, I8Code>) {
    // A byte below 0x64 or 0x43 is added to 1024 as f16, or to 128 as bf16 without its top bit, which is -128.
    constexpr uint32_t kHigh = kHalf ? 0x64646464 : 0x43434343;
    if constexpr (kHalf) word ^= 0x80808080;
    const uint32_t a = permuteBytes(word, kHigh, kNeighbours ? 0x4140 : 0x4240), b = permuteBytes(word, kHigh, kNeighbours ? 0x4342 : 0x4341);
    first = kHalf ? subtractPairs<T>(a, 0x64806480) : subtractPairs<T>(a & 0xff7fff7f, a & 0xff80ff80);
    second = kHalf ? subtractPairs<T>(b, 0x64806480) : subtractPairs<T>(b & 0xff7fff7f, b & 0xff80ff80);
  } else {
    // Exponent and mantissa lie where T has them, but for the bias.
    constexpr int kShift = kHalf ? 1 : 4;
    constexpr uint32_t kBias = kHalf ? 0x5c005c00 : 0x7b807b80;  // 2^8, 2^120
    const uint32_t a = permuteBytes(word, 0, kNeighbours ? 0x1404 : 0x2404), b = permuteBytes(word, 0, kNeighbours ? 0x3424 : 0x3414);
    first = multiplyPairs<T>((a & 0x80008000) | (a & 0x7f007f00) >> kShift, kBias);
    second = multiplyPairs<T>((b & 0x80008000) | (b & 0x7f007f00) >> kShift, kBias);
  }
}

// Requests the scales of a slice, 16 of keys and behind them 16 of values, by all lanes of a warp; row as for copySlice.
constexpr int kSliceScaleBytes = 2 * kSliceTokens * static_cast<int>(sizeof(float));
template <class C>
__device__ __forceinline__ void copyScales(float* to, const KvCache<C>& keys, const KvCache<C>& values, uint32_t row, int lane) {
  static_assert(kSliceTokens == 16, "a lane for each scale");
  const float* from = lane < kSliceTokens ? keys.scales : values.scales;
  cpAsync4(to + lane, row == kNoRow ? from : from + row, row != kNoRow);
}

// The weight of a position, as the tensor cores take it, is the softmax's times the scale of its value. Maxima are therefore of the
// score plus this: whatever the scales, such weights are around 1 and below, and the sum of the softmax's, in f32, has room.
__device__ __forceinline__ float scaleExponent(float scale) {
  const int exponent = static_cast<int>(__float_as_uint(scale) >> 23 & 0xff) - 126;
  return static_cast<float>(exponent < -64 ? -64 : exponent);
}

// A slice of codes, as copySlice left it, to a slice of T. By all lanes of a warp.
template <class T, class C, int kHeadDim>
__device__ __forceinline__ void widenSlice(char* to, const char* codes) {
  using From = TileLayout<kHeadDim / 2>;
  using To = TileLayout<kHeadDim>;
  const int lane = laneAnew();
#pragma unroll
  for (int i = 0; i < kSliceTokens * From::kUnits / 32; i++) {
    const int item = lane + 32 * i, token = item / From::kUnits, unit = item % From::kUnits;
    const uint4 word = *reinterpret_cast<const uint4*>(codes + From::offset(token, unit));
    uint4 low, high;
    widen<T, C, Pairing::neighbours>(word.x, low.x, low.y);
    widen<T, C, Pairing::neighbours>(word.y, low.z, low.w);
    widen<T, C, Pairing::neighbours>(word.z, high.x, high.y);
    widen<T, C, Pairing::neighbours>(word.w, high.z, high.w);
    *reinterpret_cast<uint4*>(to + To::offset(token, 2 * unit)) = low;
    *reinterpret_cast<uint4*>(to + To::offset(token, 2 * unit + 1)) = high;
  }
}

}  // namespace quire
