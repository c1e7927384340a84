// pagedAttention of decode rows on tensor cores: the kernel, which decode_tensor.cu and decode_tensor_codes.cu compile. A work head is a KV head with up to 4, 8 or 16 of its query heads. A block of
// 4 warps walks its part of the flat line of tiles (decode_work.h). Each warp has 16 of a tile's 64 positions: it requests
// their keys and values into a ring of its own, ahead of use across chunks, heads and rows, and has its own online softmax.
// Warps wait for each other only where a chunk ends and their results meet.
//
// K is the A operand: S^T (16 positions x 8 heads) = K (16 x d) Q^T (d x 8), with Q^T in registers, so that a group of 4 to 8
// heads fills an instruction. O^T (d x 8) += V^T (d x 16) P (16 x 8): V by transposed ldmatrix, P by transposing the scores in
// registers. For 16-bit activations with a cache of the same dtype, or of codes (C), which become 16-bit elements in registers:
// their fragments hold the same elements in another order, that of Q and of the outputs. Pages of a power of two.
//
// Measured on an H200 (bf16, cold L2, share of 4.3 TB/s). 32/8 heads of 128: 64 rows of 1,024 positions 74 to 77 us (81 to
// 85 %), of 4,096 262 to 270 us (93 to 95 %), 256 rows of 1,024 90 to 93 %, one row of 1,024 6.9 us, of 16,384 24.6 us. 12/12
// heads of 64: 64 rows of 1,024 84 %, one row 6.5 us. Of the 6.9 us, clocks in the kernel gave a third to the way to the first
// request and a third to the meeting of the chunks. One ring for all warps, with a barrier per tile, had reached 55 %.
// Caches of codes are not measured.
// Design: lmdeploy's swapped operands and HPC-Ops' flat tiles.
#pragma once
#include "code_tiles.h"
#include "decode_fold.h"
#include "variants.h"

namespace quire {
namespace {

// kHeads: query heads of a work head, of which an instruction takes 8.
template <class C, int kHeadDim, int kHeads_>
struct Shape {
  static constexpr bool kCodes = kHoldsCodes<C>;
  static constexpr int kHeads = kHeads_, kColumns = (kHeads + 7) / 8;
  static constexpr int kSliceBytes = TileLayout<kRowElements<C, kHeadDim>>::kSliceBytes, kStageBytes = 2 * kSliceBytes + (kCodes ? kSliceScaleBytes : 0);
  using Parts = PartResults<kHeadDim, kHeads, kAttentionWarps>;
  // Slices of 4 KB and less are many to an SM with two stages already.
  static constexpr int kStages = kHeadDim <= 64 && !kCodes ? 2 : 3;
  static constexpr int kRingBytes = kStages * kStageBytes;
  static constexpr int kSharedBytes = kAttentionWarps * kRingBytes + Parts::kBytes;
  // Blocks that share the 228 KB of an SM of sm_90, and whose threads have the registers that they need.
  static constexpr int kBlocksPerSm = std::min(kHeads == 4 ? 4 : kHeads == 8 ? 3 : 2, std::max(1, 228 * 1024 / (kSharedBytes + kBlockReserve)));
};

struct Problem {
  DecodeWork work;
  int width, heads, kvHeads, group, passes;
  ScoreScale scale;
};

// The query heads of a work head.
struct QueryHeads {
  int first, count;
};
template <int kHeads>
__device__ __forceinline__ QueryHeads queryHeads(const Problem& p, int workHead) {
  const int kvHead = p.passes == 1 ? workHead : workHead / p.passes, before = (workHead - kvHead * p.passes) * kHeads;
  return {kvHead * p.group + before, p.group - before < kHeads ? p.group - before : kHeads};
}

// The slices of a warp, on their way into its ring. The rows of the next slice are looked up one slice ahead.
template <class C, int kHeadDim>
struct WarpFeed {
  static constexpr int kRow = kRowElements<C, kHeadDim>;
  const Problem& p;
  Cursor at;
  uint32_t end, chunkLeft, row;
  bool more = true;

  __device__ WarpFeed(const Problem& problem, const BlockPart& part) : p(problem), at(part.cursor), end(part.end), chunkLeft(at.tilesOfChunk()) { lookUp(); }

  __device__ void lookUp() {
    const Pages pages = at.pages(p.work, p.kvHeads, p.passes == 1 ? at.head : at.head / p.passes);
    row = sliceRow(pages, at.firstPosition() + threadIdx.x / 32 * kSliceTokens, at.tiles.begin, at.tiles.end);
  }

  // Requests the next slice. One group of copies, empty behind the last.
  __device__ void fetch(char* stage, const KvCache<C>& keys, const KvCache<C>& values) {
    if (more) {
      constexpr int kSliceBytes = TileLayout<kRow>::kSliceBytes;
      copySlice<kRow>(stage, tileElements(keys), row, threadIdx.x % 32);
      copySlice<kRow>(stage + kSliceBytes, tileElements(values), row, threadIdx.x % 32);
      if constexpr (kHoldsCodes<C>) copyScales(reinterpret_cast<float*>(stage + 2 * kSliceBytes), keys, values, row, threadIdx.x % 32);
      toNext();
    }
    cpAsyncCommit();
  }
  __device__ void toNext() {
    if (--chunkLeft == 0) more = at.place + 1 < end;
    if (!more) return;
    at.advance(p.work, 1);
    if (chunkLeft == 0) chunkLeft = at.tilesOfChunk();
    lookUp();
  }
};

template <class T, class C, int kHeadDim, int kColumns>
struct WarpState {
  static constexpr bool kCodes = kHoldsCodes<C>;
  uint32_t query[kHeadDim / 16][kColumns][2];
  float out[kHeadDim / 16][kColumns][4];
  // Of the two heads whose columns this lane holds. The sums are the lane's own.
  float max[kColumns][2], sum[kColumns][2];

  __device__ void clear() {
#pragma unroll
    for (int n = 0; n < kColumns; n++) {
      max[n][0] = max[n][1] = -INFINITY, sum[n][0] = sum[n][1] = 0;
#pragma unroll
      for (int m = 0; m < kHeadDim / 16; m++) {
#pragma unroll
        for (int i = 0; i < 4; i++) out[m][n][i] = 0;
      }
    }
  }

  // `from` is the first of `heads` query heads.
  __device__ void loadQuery(const T* from, int heads) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < kColumns; n++) {
      const int head = n * 8 + lane / 4;
      const auto* words = reinterpret_cast<const uint32_t*>(from + head * kHeadDim) + lane % 4 * (kCodes ? 2 : 1);
#pragma unroll
      for (int k = 0; k < kHeadDim / 16; k++) {
        query[k][n][0] = head < heads ? GPU_LOAD(words + k * 8) : 0;
        query[k][n][1] = head < heads ? GPU_LOAD(words + k * 8 + (kCodes ? 1 : 4)) : 0;
      }
    }
  }

  // Takes the warp's slice of a tile, the first position of which is `position`.
  __device__ void attend(const char* slices, uint32_t position, uint32_t begin, uint32_t end, const ScoreScale& scale) {
    const int lane = threadIdx.x % 32;
    if (position >= end || position + kSliceTokens <= begin) return;
    // Even and odd steps have sums of their own: a chain of dependent instructions half as long.
    float score[kColumns][4] = {}, odd[kColumns][4] = {};
    constexpr int kRow = kRowElements<C, kHeadDim>, kSliceBytes = TileLayout<kRow>::kSliceBytes;
    const FragmentRow<kRow> key(slices, lane % 16, lane / 16);
    uint32_t a[4], codes[4];
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; k++) {
      if constexpr (kCodes) {
        // Four neighbours of a row to a lane, and 32 of a row to a load.
        if (k % 2 == 0) ldmatrixX4<false>(codes, key.at(k / 2));
        widen<T, C, Pairing::neighbours>(codes[k % 2 * 2], a[0], a[2]);
        widen<T, C, Pairing::neighbours>(codes[k % 2 * 2 + 1], a[1], a[3]);
      } else {
        ldmatrixX4<false>(a, key.at(k));
      }
#pragma unroll
      for (int n = 0; n < kColumns; n++) mma16816<T>(k % 2 == 0 ? score[n] : odd[n], a, query[k][n]);
    }
    const bool edge = position < begin || position + kSliceTokens > end;
    // Of the two positions whose scores this lane holds.
    float keyScale[2], valueScale[2], exponent[2];
    if constexpr (kCodes) {
      const float* scales = reinterpret_cast<const float*>(slices + 2 * kSliceBytes) + lane / 4;
#pragma unroll
      for (int i = 0; i < 2; i++) keyScale[i] = scales[8 * i], valueScale[i] = scales[kSliceTokens + 8 * i], exponent[i] = scaleExponent(valueScale[i]);
    }
    uint32_t weight[kColumns][2];
    float correction[kColumns][2];
#pragma unroll
    for (int n = 0; n < kColumns; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const uint32_t p = position + lane / 4 + i / 2 * 8;
        float dot = score[n][i] + odd[n][i];
        if constexpr (kCodes) dot *= keyScale[i / 2];
        score[n][i] = edge && (p < begin || p >= end) ? -INFINITY : scale(dot);
      }
#pragma unroll
      for (int j = 0; j < 2; j++) {
        float top = fmaxf(score[n][j], score[n][j + 2]);
        if constexpr (kCodes) top = fmaxf(score[n][j] + exponent[0], score[n][j + 2] + exponent[1]);
        for (int by = 4; by < 32; by *= 2) top = fmaxf(top, __shfl_xor_sync(kFullMask, top, by));
        const float newMax = fmaxf(max[n][j], top), base = finiteMax(newMax);
        correction[n][j] = exp2Approximate(max[n][j] - base);
        max[n][j] = newMax;
        score[n][j] = exp2Approximate(score[n][j] - base), score[n][j + 2] = exp2Approximate(score[n][j + 2] - base);
        sum[n][j] = sum[n][j] * correction[n][j] + score[n][j] + score[n][j + 2];
        if constexpr (kCodes) score[n][j] *= valueScale[0], score[n][j + 2] *= valueScale[1];
      }
      weight[n][0] = transpose8x8(packPair<T>(score[n][0], score[n][1]));
      weight[n][1] = transpose8x8(packPair<T>(score[n][2], score[n][3]));
    }
    const FragmentRow<kRow> value(slices + kSliceBytes, lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
    for (int m = 0; m < kHeadDim / 16; m++) {
      if constexpr (kCodes) {
        // Two neighbours of two positions to a lane: row r of the product is dimension 2 r, row 8 + r dimension 2 r + 1.
        if (m % 2 == 0) ldmatrixX4<true>(codes, value.at(m / 2));
        widen<T, C, Pairing::alternate>(codes[m % 2], a[0], a[1]);
        widen<T, C, Pairing::alternate>(codes[m % 2 + 2], a[2], a[3]);
      } else {
        ldmatrixX4<true>(a, value.at(m));
      }
#pragma unroll
      for (int n = 0; n < kColumns; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) out[m][n][i] *= correction[n][i % 2];
        mma16816<T>(out[m][n], a, weight[n]);
      }
    }
  }

  template <class Parts>
  __device__ void handOver(const Parts& parts, int heads) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int n = 0; n < kColumns; n++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const int head = n * 8 + lane % 4 * 2 + j;
        for (int by = 4; by < 32; by *= 2) sum[n][j] += __shfl_xor_sync(kFullMask, sum[n][j], by);
        if (head >= heads) continue;
        if (lane < 4) parts.max(warp, head) = max[n][j], parts.sum(warp, head) = sum[n][j];
#pragma unroll
        for (int m = 0; m < kHeadDim / 16; m++) {
          float* to = parts.out(warp, head) + m * 16 + lane / 4 * (kCodes ? 2 : 1);
          to[0] = out[m][n][j], to[kCodes ? 1 : 8] = out[m][n][j + 2];
        }
      }
    }
  }
};

// What the kernel works on.
template <class T, class C>
struct DecodeRows {
  const T* qkv;
  KvCache<C> keys, values;
  T* out;
  Problem problem;
};

// The part of one block, by a crew of kAttentionThreads; `shared` is of Shape::kSharedBytes.
template <class Crew, class T, class C, int kHeadDim, int kHeads>
__device__ __forceinline__ void decodePart(const DecodeRows<T, C>& rows, char* shared, bool* flag) {
  using S = Shape<C, kHeadDim, kHeads>;
  const Problem& p = rows.problem;
  const BlockPart part = findPart(p.work);
  char* const ring = shared + threadIdx.x / 32 * S::kRingBytes;
  auto stage = [&](uint32_t i) { return ring + i % S::kStages * S::kStageBytes; };
  const typename S::Parts parts{reinterpret_cast<float*>(shared + kAttentionWarps * S::kRingBytes)};
  if (!part.empty()) {
    WarpFeed<C, kHeadDim> feed(p, part);
    for (int i = 0; i < S::kStages - 1; i++) feed.fetch(stage(i), rows.keys, rows.values);
    if constexpr (Crew::kIsWhole) launchDependents();
    ChunkFold<T, kHeadDim, kHeads, Crew> fold(p.work, part);
    WarpState<T, C, kHeadDim, S::kColumns> state;
    Cursor at = part.cursor;
    bool last = false;
    for (uint32_t i = 0; !last;) {
      const uint32_t count = at.tilesOfChunk();
      last = at.place + count >= part.end;
      if (i == 0 || at.tile == 0) {
        const QueryHeads heads = queryHeads<kHeads>(p, at.head);
        state.loadQuery(rows.qkv + static_cast<int64_t>(at.row) * p.width + heads.first * kHeadDim, heads.count);
      }
      state.clear();
      uint32_t position = at.firstPosition() + threadIdx.x / 32 * kSliceTokens;
      for (const uint32_t end = i + count; i < end; i++, position += kTileTokens) {
        cpAsyncWait<S::kStages - 2>();
        __syncwarp();  // this stage is filled, and all lanes have left the one in front
        feed.fetch(stage(i + S::kStages - 1), rows.keys, rows.values);
        state.attend(stage(i), position, at.tiles.begin, at.tiles.end, p.scale);
      }
      // Found again: the walk of a chunk has no register for them.
      const QueryHeads heads = queryHeads<kHeads>(p, at.head);
      CREW_SYNC(Crew);  // all have merged the chunk in front
      state.handOver(parts, heads.count);
      CREW_SYNC(Crew);
      fold.take(at, parts.merge(), last, rows.out + (static_cast<int64_t>(at.row) * p.heads + heads.first) * kHeadDim, heads.count, flag);
      if (!last) at.advance(p.work, count);
    }
  }
  zeroSpentRows(p.work, rows.out, p.heads * kHeadDim);
}

template <class T, class C, int kHeadDim, int kHeads>
__global__ void __launch_bounds__(kAttentionThreads, Shape<C, kHeadDim, kHeads>::kBlocksPerSm) decodeTensor(DecodeRows<T, C> rows) {
  DYN_SHARED(char, shared);
  SHARED(bool, flag, 1);
  waitForPrevious();
  decodePart<WholeBlock, T, C, kHeadDim, kHeads>(rows, shared, flag);
}

inline int groupOf(const PagedAttention& a) { return a.shape.heads / a.shape.kvHeads; }

template <class S>
int gridOf(const PagedAttention& a, int rows, int smCount) {
  const int fit = sharedBytesPerSm() / (S::kSharedBytes + kBlockReserve);
  return decodeGrid(smCount, std::max(1, std::min(fit, S::kBlocksPerSm)), static_cast<int64_t>(rows) * a.shape.kvHeads * ceilDiv(groupOf(a), S::kHeads) * slotsPerBlock(a));
}

// Calls f(heads) with the query heads of a work head. With 16 heads of 256 the outputs of a warp would not fit its registers: such
// groups take several passes.
template <int kHeadDim, class F>
cudaError_t withHeads(const PagedAttention& a, F f) {
  if constexpr (kHeadDim <= 128) {
    if (groupOf(a) > 8) return f(std::integral_constant<int, 16>{});
  }
  return groupOf(a) > 4 ? f(std::integral_constant<int, 8>{}) : f(std::integral_constant<int, 4>{});
}

template <class C, int kHeadDim, int kHeads>
size_t decodeScratch(const PagedAttention& a, int maxRows, int smCount) {
  return static_cast<size_t>(gridOf<Shape<C, kHeadDim, kHeads>>(a, maxRows, smCount)) * slotsPerBlock(a) * kHeads * (kHeadDim + 2) * sizeof(float);
}

template <class T, class C, int kHeads>
DecodeRows<T, C> decodeRows(const PagedAttention& a, const Step& s) {
  const int passes = ceilDiv(groupOf(a), kHeads);
  const Problem problem{decodeWork(a, s, a.shape.kvHeads * passes), static_cast<int>(a.qkv.columns), a.shape.heads, a.shape.kvHeads, groupOf(a), passes, scoreScale(a)};
  return {a.qkv.as<T>(), kvCache<C>(a.kCache, a.kScales), kvCache<C>(a.vCache, a.vScales), a.out.as<T>(), problem};
}

template <class T, class C, int kHeadDim, int kHeads>
cudaError_t decodeLaunch(const PagedAttention& a, const Step& s) {
  using S = Shape<C, kHeadDim, kHeads>;
  const GpuLaunch l{"attentionDecodeTensor", {static_cast<unsigned>(gridOf<S>(a, s.sizes.decodeSequences, s.smCount))}, {kAttentionThreads}, S::kSharedBytes, s.stream};
  return gpuLaunch(l, decodeTensor<T, C, kHeadDim, kHeads>, decodeRows<T, C, kHeads>(a, s));
}

}  // namespace
}  // namespace quire
