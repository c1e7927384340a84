// The query rows of one warp of prefill, 16 or 32 of them, over tiles of 64 positions: Q K^T, mask and online softmax, P V.
// Scores and outputs stay in the registers of the tensor cores' layout; the scores' fragments, rounded, are the A operand of
// P V as they are. Q stays in registers where the outputs leave room, else its fragments are read again for each tile.
// Design: FlashAttention-2 (Dao 2023).
#pragma once
#include "tiles.h"

namespace quire {

// kBands: groups of 16 rows of a warp.
template <class T, int kHeadDim, int kBands>
struct PrefillShape {
  static constexpr int kRows = kAttentionWarps * 16 * kBands;
  static constexpr int kQueryBytes = kRows * TileLayout<kHeadDim>::kRowBytes;
  static constexpr int kKeyStages = 2;
  static constexpr int kSharedBytes = kQueryBytes + (kKeyStages + 1) * TileLayout<kHeadDim>::kTileBytes;
  // Fragments of Q stay in registers where the outputs leave room for them.
  static constexpr bool kQueryInRegisters = kHeadDim * kBands <= 128;
};

// The maximum that weights are relative to follows the scores only when they exceed it by so many powers of two: outputs are
// seldom rescaled, and a weight stays below 2^kSlack.
constexpr float kSlack = 8;

template <class T, int kHeadDim, int kBands>
struct PrefillRows {
  static constexpr int kSteps = kHeadDim / 16;
  static constexpr bool kKeep = PrefillShape<T, kHeadDim, kBands>::kQueryInRegisters;
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
      for (int j = 0; j < 2; j++) max[b][j] = -INFINITY, sum[b][j] = 0;
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

  // score = Q K^T of a tile.
  __device__ void multiplyKeys(const char* keys, float (&score)[kBands][8][4]) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int n = 0; n < 8; n++) score[b][n][0] = score[b][n][1] = score[b][n][2] = score[b][n][3] = 0;
    }
#pragma unroll
    for (int k = 0; k < kSteps; k++) {
      uint32_t a[kBands][4];
#pragma unroll
      for (int b = 0; b < kBands; b++) {
        if constexpr (kKeep) {
#pragma unroll
          for (int i = 0; i < 4; i++) a[b][i] = query[b][k][i];
        } else {
          readQuery(b, k, a[b]);
        }
      }
#pragma unroll
      for (int n = 0; n < 4; n++) {
        uint32_t pair[4];
        ldmatrixX4<false>(pair, FragmentRow<kHeadDim>(keys, n * 16 + lane % 8 + lane / 16 * 8, lane / 8 % 2).at(k));
        const uint32_t low[2] = {pair[0], pair[1]}, high[2] = {pair[2], pair[3]};
#pragma unroll
        for (int b = 0; b < kBands; b++) {
          mma16816<T>(score[b][2 * n], a[b], low);
          mma16816<T>(score[b][2 * n + 1], a[b], high);
        }
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

  // Scores become weights relative to the maxima; outputs and sums so far are brought to them.
  __device__ void softmax(float (&score)[kBands][8][4], uint32_t tileStart, int window, const ScoreScale& scale) {
    float factor = scale.factor;
    if (scale.cap != 0.0f) capScores(score, scale), factor = 1;
    if (tileStart + kTileTokens > firstPosition + 1 || (window > 0 && tileStart + window <= lastPosition)) mask(score, tileStart, window);
    float correction[kBands][2];
    bool rescale = false;
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        float top = fmaxf(score[b][0][2 * j], score[b][0][2 * j + 1]);
#pragma unroll
        for (int n = 1; n < 8; n++) top = fmaxf(top, fmaxf(score[b][n][2 * j], score[b][n][2 * j + 1]));
        for (int by = 1; by < 4; by *= 2) top = fmaxf(top, __shfl_xor_sync(kFullMask, top, by));
        top *= factor;
        const bool exceeds = top > max[b][j] + kSlack;
        correction[b][j] = exceeds ? exp2Approximate(max[b][j] - top) : 1.0f;
        if (exceeds) max[b][j] = top, rescale = true;
        const float base = finiteMax(max[b][j]);
        float added = 0;
#pragma unroll
        for (int n = 0; n < 8; n++) {
#pragma unroll
          for (int i = 2 * j; i < 2 * j + 2; i++) {
            score[b][n][i] = exp2Approximate(__fmaf_rn(score[b][n][i], factor, -base));
            added += score[b][n][i];
          }
        }
        sum[b][j] = __fmaf_rn(sum[b][j], correction[b][j], added);
      }
    }
    if (!__any_sync(kFullMask, rescale)) return;
#pragma unroll
    for (int b = 0; b < kBands; b++) {
#pragma unroll
      for (int n = 0; n < 2 * kSteps; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) out[b][n][i] *= correction[b][i / 2];
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

  // out += P V of a tile.
  __device__ void multiplyValues(const char* values, const float (&weight)[kBands][8][4]) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < 4; k++) {
      uint32_t a[kBands][4];
#pragma unroll
      for (int b = 0; b < kBands; b++) {
        a[b][0] = packPair<T>(weight[b][2 * k][0], weight[b][2 * k][1]), a[b][1] = packPair<T>(weight[b][2 * k][2], weight[b][2 * k][3]);
        a[b][2] = packPair<T>(weight[b][2 * k + 1][0], weight[b][2 * k + 1][1]), a[b][3] = packPair<T>(weight[b][2 * k + 1][2], weight[b][2 * k + 1][3]);
      }
      const FragmentRow<kHeadDim> value(values, k * 16 + lane % 16, lane / 16);
#pragma unroll
      for (int n = 0; n < kSteps; n++) {
        uint32_t pair[4];
        ldmatrixX4<true>(pair, value.at(n));
        const uint32_t low[2] = {pair[0], pair[1]}, high[2] = {pair[2], pair[3]};
#pragma unroll
        for (int b = 0; b < kBands; b++) {
          mma16816<T>(out[b][2 * n], a[b], low);
          mma16816<T>(out[b][2 * n + 1], a[b], high);
        }
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
