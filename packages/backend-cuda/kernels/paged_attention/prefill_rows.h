// The query rows of one warp of prefill, 16 or 32 of them, over tiles of 64 positions: Q K^T, mask and online softmax, P V.
// Scores and outputs stay in the registers of the tensor cores' layout; the scores' fragments, rounded, are the A operand of
// P V as they are. The maxima are settled in front of P V, the exponentials stand between its products. Q stays in registers
// where the outputs leave room, else its fragments are read again for each tile.
// Design: FlashAttention-2 (Dao 2023).
#pragma once
#include "../lib/lane.h"
#include "code_tiles.h"

namespace quire {

// kBands: groups of 16 rows of a warp.
template <class C, int kHeadDim, int kBands>
struct PrefillShape {
  static constexpr int kRows = kAttentionWarps * 16 * kBands;
  static constexpr int kQueryBytes = kRows * TileLayout<kHeadDim>::kRowBytes;
  // Codes need one tile of keys, since they arrive elsewhere: in a slice of keys and one of values to a warp. Scales come with the keys, those of the next tile while these are read.
  static constexpr bool kCodes = kHoldsCodes<C>;
  static constexpr int kKeyStages = kCodes ? 1 : 2;
  static constexpr int kCodeSliceBytes = kCodes ? TileLayout<kRowElements<C, kHeadDim>>::kSliceBytes : 0;
  static constexpr int kCodeBytes = kCodes ? kAttentionWarps * 2 * (kCodeSliceBytes + kSliceScaleBytes) : 0;
  static constexpr int kSharedBytes = kQueryBytes + (kKeyStages + 1) * TileLayout<kHeadDim>::kTileBytes + kCodeBytes;
  // Fragments of Q stay in registers where the outputs leave room for them.
  static constexpr bool kQueryInRegisters = kHeadDim * kBands <= 128;
};

// The maximum that weights are relative to follows the scores only when they exceed it by so many powers of two: outputs are
// seldom rescaled, and a weight stays below 2^kSlack.
constexpr float kSlack = 8;
// The maximum while nothing was visible: finite, so that its difference from minus infinity is no NaN.
constexpr float kNoMax = -1e30f;

template <class T, class C, int kHeadDim, int kBands>
struct PrefillRows {
  static constexpr bool kCodes = kHoldsCodes<C>;
  static constexpr int kSteps = kHeadDim / 16;
  static constexpr bool kKeep = PrefillShape<C, kHeadDim, kBands>::kQueryInRegisters;
  char* queries;  // the warp's own rows in shared memory
  uint32_t query[kKeep ? kBands : 1][kKeep ? kSteps : 1][4];
  float out[kBands][2 * kSteps][4];
  // Of the two rows of each band whose columns this lane holds. The sums are the lane's own.
  float max[kBands][2], sum[kBands][2];
  // The packed row at which the warp's begin, the position of row 0, and the positions of the warp's first and last row.
  uint32_t firstRow, start, firstPosition, lastPosition;
  int group;

  __device__ PrefillRows(char* shared, uint32_t blockRow, uint32_t startPosition, int rowsPerPosition) : start(startPosition), group(rowsPerPosition) {
    const int first = threadIdx.x / 32 * 16 * kBands;
    queries = shared + first * TileLayout<kHeadDim>::kRowBytes;
    firstRow = blockRow + first;
    firstPosition = start + firstRow / group, lastPosition = start + (firstRow + 16 * kBands - 1) / group;
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int j = 0; j < 2; j++) max[b][j] = kNoMax, sum[b][j] = 0;
#pragma unroll
      for (int n = 0; n < 2 * kSteps; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) out[b][n][i] = 0;
      }
    }
  }

  __device__ void readQuery(int band, int k, uint32_t (&a)[4]) const {
    const int lane = threadIdx.x % 32;
    ldmatrixX4<false>(a, FragmentRow<kHeadDim>(queries, band * 16 + lane % 16, lane / 16).at(k));
  }
  __device__ void keepQuery() {
    if constexpr (kKeep) {
#pragma unroll
      for (int b = 0; b < kBands; b++) {
#pragma unroll
        for (int k = 0; k < kSteps; k++) readQuery(b, k, query[b][k]);
      }
    }
  }

  // score = Q K^T of a tile. Fragments of the next instructions are read while these are computed.
  __device__ void multiplyKeys(const char* keys, float (&score)[kBands][8][4]) const {
    const int lane = laneAnew();
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int n = 0; n < 8; n++) score[b][n][0] = score[b][n][1] = score[b][n][2] = score[b][n][3] = 0;
    }
    const FragmentRow<kHeadDim> key(keys, lane % 8 + lane / 16 * 8, lane / 8 % 2);
    auto readKeys = [&](int step, uint32_t (&pair)[4]) { ldmatrixX4<false>(pair, key.at(step / 4, step % 4 * 16)); };
    uint32_t a[2][kBands][4], pair[2][4];
    readKeys(0, pair[0]);
    fragmentsOfQuery(0, a[0]);
#pragma unroll
    for (int step = 0; step < 4 * kSteps; step++) {
      const int k = step / 4, n = step % 4;
      if (step + 1 < 4 * kSteps) readKeys(step + 1, pair[(step + 1) % 2]);
      if (n == 1 && k + 1 < kSteps) fragmentsOfQuery(k + 1, a[(k + 1) % 2]);
      const uint32_t low[2] = {pair[step % 2][0], pair[step % 2][1]}, high[2] = {pair[step % 2][2], pair[step % 2][3]};
#pragma unroll
      for (int b = 0; b < kBands; b++) {
        mma16816<T>(score[b][2 * n], a[k % 2][b], low);
        mma16816<T>(score[b][2 * n + 1], a[k % 2][b], high);
      }
    }
  }
  __device__ __forceinline__ void fragmentsOfQuery(int k, uint32_t (&a)[kBands][4]) const {
#pragma unroll
    for (int b = 0; b < kBands; b++) {
      if constexpr (kKeep) {
#pragma unroll
        for (int i = 0; i < 4; i++) a[b][i] = query[b][k][i];
      } else {
        readQuery(b, k, a[b]);
      }
    }
  }

  // Scores become -infinity where a row does not see the position.
  __device__ void mask(float (&score)[kBands][8][4], uint32_t tileStart, int window) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const uint32_t position = start + (firstRow + b * 16 + lane / 4 + j * 8) / group;
#pragma unroll
        for (int n = 0; n < 8; n++) {
#pragma unroll
          for (int i = 2 * j; i < 2 * j + 2; i++) {
            const uint32_t p = tileStart + n * 8 + lane % 4 * 2 + i % 2;
            if (p > position || (window > 0 && p + window <= position)) score[b][n][i] = -INFINITY;
          }
        }
      }
    }
  }

  // The scale of a position of a tile, of its key or its value, in a tile's scales as copyScales left them.
  __device__ static float scaleOf(const float* scales, int position, bool value) { return scales[position / kSliceTokens * 2 * kSliceTokens + value * kSliceTokens + position % kSliceTokens]; }
  // The position in a tile of score i of column block n.
  __device__ static int positionOf(int n, int i) { return n * 8 + threadIdx.x % 4 * 2 + i % 2; }

  // Scores of codes become those of keys. What is then added to one for its maximum is the exponent of its value's scale.
  __device__ static void scaleScores(float (&score)[kBands][8][4], const float* scales) {
#pragma unroll
    for (int n = 0; n < 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float scale = scaleOf(scales, positionOf(n, i), false);
#pragma unroll
        for (int b = 0; b < kBands; b++) score[b][n][i] *= scale;
      }
    }
  }

  // Caps and masks the scores and lets the maxima follow them; outputs and sums so far are brought to the new maxima. The
  // factor by which scores are then multiplied. scales: of codes.
  __device__ float settle(float (&score)[kBands][8][4], uint32_t tileStart, int window, const ScoreScale& scale, [[maybe_unused]] const float* scales) {
    float factor = scale.factor;
    if constexpr (kCodes) scaleScores(score, scales);
    if (scale.cap != 0.0f) capScores(score, scale), factor = 1;
    if (tileStart + kTileTokens > firstPosition + 1 || (window > 0 && tileStart + window <= lastPosition)) mask(score, tileStart, window);
    float correction[kBands][2];
    bool rescale = false;
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        float top = fmaxf(score[b][0][2 * j], score[b][0][2 * j + 1]);
        if constexpr (kCodes) top = topOfCodes(score[b], j, factor, scales);
#pragma unroll
        for (int n = 1; !kCodes && n < 8; n++) top = fmaxf(top, fmaxf(score[b][n][2 * j], score[b][n][2 * j + 1]));
        for (int by = 1; by < 4; by *= 2) top = fmaxf(top, __shfl_xor_sync(kFullMask, top, by));
        if constexpr (!kCodes) top *= factor;
        const bool exceeds = top > max[b][j] + kSlack;
        correction[b][j] = exceeds ? exp2Approximate(max[b][j] - top) : 1.0f;
        if (exceeds) max[b][j] = top, rescale = true;
      }
    }
    if (__any_sync(kFullMask, rescale)) {
#pragma unroll
      for (int b = 0; b < kBands; b++) {
        sum[b][0] *= correction[b][0], sum[b][1] *= correction[b][1];
#pragma unroll
        for (int n = 0; n < 2 * kSteps; n++) {
#pragma unroll
          for (int i = 0; i < 4; i++) out[b][n][i] *= correction[b][i / 2];
        }
      }
    }
    return factor;
  }

  // The lane's part of the largest score of row j of a band, with the exponents of the scales of values.
  __device__ static float topOfCodes(const float (&score)[8][4], int j, float factor, const float* scales) {
    float top = -INFINITY;
#pragma unroll
    for (int n = 0; n < 8; n++) {
#pragma unroll
      for (int i = 2 * j; i < 2 * j + 2; i++) top = fmaxf(top, __fmaf_rn(score[n][i], factor, scaleExponent(scaleOf(scales, positionOf(n, i), true))));
    }
    return top;
  }

  __device__ static void capScores(float (&score)[kBands][8][4], const ScoreScale& scale) {
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int n = 0; n < 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) score[b][n][i] = scale(score[b][n][i]);
      }
    }
  }

  // out += P V of a tile. The weights of the next 16 positions are computed between the instructions of these.
  __device__ void multiplyValues(const char* values, float (&score)[kBands][8][4], float factor, [[maybe_unused]] const float* scales) {
    const int lane = laneAnew();
    const FragmentRow<kHeadDim> value(values, lane % 16, lane / 16);
    auto readValues = [&](int step, uint32_t (&pair)[4]) { ldmatrixX4<true>(pair, value.at(step % kSteps, step / kSteps * 16)); };
    uint32_t a[2][kBands][4], pair[2][4];
    readValues(0, pair[0]);
    weigh(score, factor, 0, 0, 8, a[0], scales);
#pragma unroll
    for (int step = 0; step < 4 * kSteps; step++) {
      const int k = step / kSteps, n = step % kSteps;
      if (step + 1 < 4 * kSteps) readValues(step + 1, pair[(step + 1) % 2]);
      const uint32_t low[2] = {pair[step % 2][0], pair[step % 2][1]}, high[2] = {pair[step % 2][2], pair[step % 2][3]};
#pragma unroll
      for (int b = 0; b < kBands; b++) {
        mma16816<T>(out[b][2 * n], a[k % 2][b], low);
        mma16816<T>(out[b][2 * n + 1], a[k % 2][b], high);
      }
      if (k < 3) weigh(score, factor, k + 1, 4 * n / kSteps * 2, 4 * (n + 1) / kSteps * 2, a[(k + 1) % 2], scales);
    }
  }
  // Scores first .. last - 1 of the eight of each band that a lane holds of 16 positions become weights, and pairs of them words
  // of the A operand.
  __device__ __forceinline__ void weigh(float (&score)[kBands][8][4], float factor, int k, int first, int last, uint32_t (&a)[kBands][4], [[maybe_unused]] const float* scales) {
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int e = first; e < last; e += 2) {
        const int j = e / 2 % 2;
        float* pair = &score[b][2 * k + e / 4][e % 4];
        pair[0] = exp2Approximate(__fmaf_rn(pair[0], factor, -max[b][j])), pair[1] = exp2Approximate(__fmaf_rn(pair[1], factor, -max[b][j]));
        sum[b][j] += pair[0], sum[b][j] += pair[1];
        if constexpr (kCodes) pair[0] *= scaleOf(scales, positionOf(2 * k + e / 4, 0), true), pair[1] *= scaleOf(scales, positionOf(2 * k + e / 4, 1), true);
        a[b][e / 2] = packPair<T>(pair[0], pair[1]);
      }
    }
  }

  // Outputs to the warp's own rows in shared memory, in place of its queries.
  __device__ void stage() {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        for (int by = 1; by < 4; by *= 2) sum[b][j] += __shfl_xor_sync(kFullMask, sum[b][j], by);
        const float scale = 1.0f / sum[b][j];
        const int row = b * 16 + lane / 4 + j * 8;
#pragma unroll
        for (int n = 0; n < 2 * kSteps; n++) {
          auto* to = reinterpret_cast<uint32_t*>(queries + TileLayout<kHeadDim>::offset(row, n)) + lane % 4;
          *to = packPair<T>(out[b][n][2 * j] * scale, out[b][n][2 * j + 1] * scale);
        }
      }
    }
  }
};

}  // namespace quire
