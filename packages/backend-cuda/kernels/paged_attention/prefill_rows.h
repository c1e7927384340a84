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
  static constexpr bool kQueryInRegisters = kHeadDim * kBands <= (kCodes ? 64 : 128);
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
  // The packed rows at which the warp's begin and end, the position of row 0, and rows to a position.
  int firstRow, lastRow, group;
  uint32_t start;

  __device__ PrefillRows(char* shared, uint32_t blockRow, uint32_t startPosition, int rowsPerPosition) : group(rowsPerPosition), start(startPosition) {
    const int first = threadIdx.x / 32 * 16 * kBands;
    queries = shared + first * TileLayout<kHeadDim>::kRowBytes;
    firstRow = static_cast<int>(blockRow) + first, lastRow = firstRow + 16 * kBands - 1;
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

  // The packed row at which a position's rows begin. A row sees the position if it is that row or a later one.
  __device__ int rowOf(uint32_t position) const { return static_cast<int>(position - start) * group; }
  // Whether any row sees any of a tile in front of `end`.
  __device__ bool see(uint32_t tileStart, uint32_t end, int window) const {
    return firstRow < rowOf(end) && rowOf(tileStart) <= lastRow && (window == 0 || rowOf(tileStart + kTileTokens + window - 1) > firstRow);
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
    // Codes leave no registers for the next fragments of Q.
    constexpr int kAhead = kCodes ? 0 : 1;
    uint32_t a[1 + kAhead][kBands][4], pair[2][4];
    readKeys(0, pair[0]);
    fragmentsOfQuery(0, a[0]);
    // Two loops: one of as many steps as 256 columns have is not unrolled whole, and scores that it finds by index lie in memory.
#pragma unroll
    for (int k = 0; k < kSteps; k++) {
#pragma unroll
      for (int n = 0; n < 4; n++) {
        const int step = 4 * k + n;
        if (step + 1 < 4 * kSteps) readKeys(step + 1, pair[(step + 1) % 2]);
        if (n == kAhead && k + kAhead < kSteps && step > 0) fragmentsOfQuery(k + kAhead, a[(k + kAhead) % (1 + kAhead)]);
        const uint32_t low[2] = {pair[step % 2][0], pair[step % 2][1]}, high[2] = {pair[step % 2][2], pair[step % 2][3]};
#pragma unroll
        for (int b = 0; b < kBands; b++) {
          mma16816<T>(score[b][2 * n], a[k % (1 + kAhead)][b], low);
          mma16816<T>(score[b][2 * n + 1], a[k % (1 + kAhead)][b], high);
        }
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
    const int lane = laneAnew(), first = rowOf(tileStart + lane % 4 * 2);
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const int ahead = first - (firstRow + b * 16 + lane / 4 + j * 8);
#pragma unroll
        for (int n = 0; n < 8; n++) {
#pragma unroll
          for (int i = 0; i < 2; i++) {
            const int by = ahead + (n * 8 + i) * group;
            if (by > 0 || (window > 0 && by + window * group <= 0)) score[b][n][2 * j + i] = -INFINITY;
          }
        }
      }
    }
  }

  // From a tile's scales, as copyScales left them, to those of this lane's scores: of each pair of neighbours in a column block.
  __device__ static const float* scalesOfLane(const float* scales) { return scales + laneAnew() % 4 * 2; }
  // The scale of score i of column block n, of its key or its value.
  __device__ static float scaleOf(const float* ofLane, int n, int i, bool value) { return ofLane[n * 8 / kSliceTokens * 2 * kSliceTokens + value * kSliceTokens + n * 8 % kSliceTokens + i % 2]; }

  // Scores of codes become those of keys. What is then added to one for its maximum is the exponent of its value's scale.
  __device__ static void scaleScores(float (&score)[kBands][8][4], const float* ofLane) {
#pragma unroll
    for (int n = 0; n < 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float scale = scaleOf(ofLane, n, i, false);
#pragma unroll
        for (int b = 0; b < kBands; b++) score[b][n][i] *= scale;
      }
    }
  }

  // The factor by which settled scores are multiplied: capScores has done so.
  __device__ static float factorOf(const ScoreScale& scale) { return scale.cap != 0.0f ? 1.0f : scale.factor; }

  // Caps and masks the scores and lets the maxima follow them; outputs and sums so far are brought to the new maxima. scales: of codes.
  __device__ void settle(float (&score)[kBands][8][4], uint32_t tileStart, int window, const ScoreScale& scale, [[maybe_unused]] const float* scales) {
    const float factor = factorOf(scale);
    [[maybe_unused]] const float* const ofLane = kCodes ? scalesOfLane(scales) : nullptr;
    if constexpr (kCodes) scaleScores(score, ofLane);
    if (scale.cap != 0.0f) capScores(score, scale);
    if (rowOf(tileStart + kTileTokens - 1) > firstRow || (window > 0 && rowOf(tileStart + window) <= lastRow)) mask(score, tileStart, window);
    float tops[kBands][2], correction[kBands][2];
    if constexpr (kCodes) topsOfCodes(tops, score, factor, ofLane);
    else topsOf(tops, score);
    bool rescale = false;
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        float top = tops[b][j];
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
  }

  // The largest of the lane's scores of each row.
  __device__ static void topsOf(float (&tops)[kBands][2], const float (&score)[kBands][8][4]) {
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        tops[b][j] = fmaxf(score[b][0][2 * j], score[b][0][2 * j + 1]);
#pragma unroll
        for (int n = 1; n < 8; n++) tops[b][j] = fmaxf(tops[b][j], fmaxf(score[b][n][2 * j], score[b][n][2 * j + 1]));
      }
    }
  }
  // The same with the exponents of the scales of values, in units of log2. An exponent is used up before the next one is found.
  __device__ static void topsOfCodes(float (&tops)[kBands][2], const float (&score)[kBands][8][4], float factor, const float* ofLane) {
#pragma unroll
    for (int b = 0; b < kBands; b++) tops[b][0] = tops[b][1] = -INFINITY;
#pragma unroll
    for (int n = 0; n < 8; n++) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const float exponent = scaleExponent(scaleOf(ofLane, n, i, true));
#pragma unroll
        for (int b = 0; b < kBands; b++) {
          tops[b][0] = fmaxf(tops[b][0], __fmaf_rn(score[b][n][i], factor, exponent));
          tops[b][1] = fmaxf(tops[b][1], __fmaf_rn(score[b][n][i + 2], factor, exponent));
        }
      }
    }
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
  __device__ void multiplyValues(const char* values, float (&score)[kBands][8][4], const ScoreScale& scale, [[maybe_unused]] const float* scales) {
    const int lane = laneAnew();
    const float factor = factorOf(scale);
    const FragmentRow<kHeadDim> value(values, lane % 16, lane / 16);
    auto readValues = [&](int step, uint32_t (&pair)[4]) { ldmatrixX4<true>(pair, value.at(step % kSteps, step / kSteps * 16)); };
    [[maybe_unused]] const float* const ofLane = kCodes ? scalesOfLane(scales) : nullptr;
    uint32_t a[2][kBands][4], pair[2][4];
    readValues(0, pair[0]);
    weigh(score, factor, 0, 0, 8, a[0], ofLane);
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
      if (k < 3) weigh(score, factor, k + 1, 4 * n / kSteps * 2, 4 * (n + 1) / kSteps * 2, a[(k + 1) % 2], ofLane);
    }
  }
  // Scores first .. last - 1 of the eight of each band that a lane holds of 16 positions become weights, and pairs of them words
  // of the A operand.
  __device__ __forceinline__ void weigh(float (&score)[kBands][8][4], float factor, int k, int first, int last, uint32_t (&a)[kBands][4], [[maybe_unused]] const float* ofLane) {
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int e = first; e < last; e += 2) {
        const int j = e / 2 % 2;
        float* pair = &score[b][2 * k + e / 4][e % 4];
        pair[0] = exp2Approximate(__fmaf_rn(pair[0], factor, -max[b][j])), pair[1] = exp2Approximate(__fmaf_rn(pair[1], factor, -max[b][j]));
        sum[b][j] += pair[0], sum[b][j] += pair[1];
        if constexpr (kCodes) pair[0] *= scaleOf(ofLane, 2 * k + e / 4, 0, true), pair[1] *= scaleOf(ofLane, 2 * k + e / 4, 1, true);
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
