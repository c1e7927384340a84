// pagedAttention of decode rows on tensor cores. A work head is a KV head with up to 8 or 16 of its query heads. A block of 4
// warps walks its part of the flat line of tiles (decode_work.h) through a ring of stages that cp.async fills ahead, across
// heads and rows. Each warp has 16 of a tile's 64 positions and its own online softmax; nothing is exchanged between warps
// until a chunk ends.
//
// K is the A operand: S^T (16 positions x 8 heads) = K (16 x d) Q^T (d x 8), with Q^T in registers, so that a group of 4 to 8
// heads fills an instruction. O^T (d x 8) += V^T (d x 16) P (16 x 8): V by transposed ldmatrix, P by transposing the scores in
// registers. For 16-bit activations and a cache of the same dtype; pages of a power of two.
// Design: lmdeploy's swapped operands and HPC-Ops' flat tiles.
#include "decode_fold.h"
#include "variants.h"

namespace quire {
namespace {

// kColumns: groups of 8 query heads.
template <class T, int kHeadDim, int kColumns>
struct Shape {
  static constexpr int kHeads = 8 * kColumns;
  static constexpr int kStageBytes = 2 * TileLayout<kHeadDim>::kTileBytes;
  using Parts = PartResults<kHeadDim, kHeads, kAttentionWarps>;
  // Three stages where two blocks then still share the 228 KB of an SM of sm_90.
  static constexpr int kStages = 2 * (3 * kStageBytes + Parts::kBytes + kBlockReserve) <= 228 * 1024 ? 3 : 2;
  static constexpr int kSharedBytes = kStages * kStageBytes + Parts::kBytes;
};

struct Problem {
  DecodeWork work;
  int width, heads, kvHeads, group, passes;
  ScoreScale scale;
};

template <class T, int kHeadDim, int kColumns>
struct WarpState {
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
      const auto* words = reinterpret_cast<const uint32_t*>(from + head * kHeadDim) + lane % 4;
#pragma unroll
      for (int k = 0; k < kHeadDim / 16; k++) {
        query[k][n][0] = head < heads ? GPU_LOAD(words + k * 8) : 0;
        query[k][n][1] = head < heads ? GPU_LOAD(words + k * 8 + 4) : 0;
      }
    }
  }

  // Takes the warp's 16 positions of a tile, the first of which is `position`.
  __device__ void attend(const char* keys, const char* values, uint32_t position, uint32_t begin, uint32_t end, const ScoreScale& scale) {
    const int lane = threadIdx.x % 32, first = threadIdx.x / 32 * 16;
    if (position >= end || position + 16 <= begin) return;
    float score[kColumns][4] = {};
    const FragmentRow<kHeadDim> key(keys, first + lane % 16, lane / 16);
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; k++) {
      uint32_t a[4];
      ldmatrixX4<false>(a, key.at(k));
#pragma unroll
      for (int n = 0; n < kColumns; n++) mma16816<T>(score[n], a, query[k][n]);
    }
    const bool edge = position < begin || position + 16 > end;
    uint32_t weight[kColumns][2];
    float correction[kColumns][2];
#pragma unroll
    for (int n = 0; n < kColumns; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const uint32_t p = position + lane / 4 + i / 2 * 8;
        score[n][i] = edge && (p < begin || p >= end) ? -INFINITY : scale(score[n][i]);
      }
#pragma unroll
      for (int j = 0; j < 2; j++) {
        float top = fmaxf(score[n][j], score[n][j + 2]);
        for (int by = 4; by < 32; by *= 2) top = fmaxf(top, __shfl_xor_sync(kFullMask, top, by));
        const float newMax = fmaxf(max[n][j], top), base = finiteMax(newMax);
        correction[n][j] = exp2Approximate(max[n][j] - base);
        max[n][j] = newMax;
        score[n][j] = exp2Approximate(score[n][j] - base), score[n][j + 2] = exp2Approximate(score[n][j + 2] - base);
        sum[n][j] = sum[n][j] * correction[n][j] + score[n][j] + score[n][j + 2];
      }
      weight[n][0] = transpose8x8(packPair<T>(score[n][0], score[n][1]));
      weight[n][1] = transpose8x8(packPair<T>(score[n][2], score[n][3]));
    }
    const FragmentRow<kHeadDim> value(values, first + lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
    for (int m = 0; m < kHeadDim / 16; m++) {
      uint32_t a[4];
      ldmatrixX4<true>(a, value.at(m));
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
          float* to = parts.out(warp, head) + m * 16 + lane / 4;
          to[0] = out[m][n][j], to[8] = out[m][n][j + 2];
        }
      }
    }
  }
};

template <class T, int kHeadDim, int kColumns>
__global__ void __launch_bounds__(kAttentionThreads) decodeTensor(const T* qkv, const T* kCache, const T* vCache, T* out, Problem p) {
  using S = Shape<T, kHeadDim, kColumns>;
  constexpr int kStages = S::kStages;
  DYN_SHARED(char, shared);
  SHARED(bool, flag, 1);
  waitForPrevious();
  zeroSpentRows(p.work, out, p.heads * kHeadDim);
  const BlockPart part = findPart(p.work);
  if (part.tiles == 0) return;

  auto stage = [&](uint32_t i) { return shared + i % kStages * S::kStageBytes; };
  const typename S::Parts parts{reinterpret_cast<float*>(shared + kStages * S::kStageBytes)};
  Cursor ahead = part.cursor;
  auto fetch = [&](uint32_t i) {
    if (i < part.tiles) {
      const Pages pages = ahead.pages(p.work, p.kvHeads, ahead.head / p.passes);
      copyTile<kHeadDim, 4>(stage(i), kCache, pages, ahead.firstPosition(), ahead.tiles.begin, ahead.tiles.end);
      copyTile<kHeadDim, 4>(stage(i) + S::kStageBytes / 2, vCache, pages, ahead.firstPosition(), ahead.tiles.begin, ahead.tiles.end);
      if (i + 1 < part.tiles) ahead.next(p.work);
    }
    cpAsyncCommit();
  };
  for (int i = 0; i < kStages - 1; i++) fetch(i);

  ChunkFold<T, kHeadDim, S::kHeads> fold(p.work, part);
  WarpState<T, kHeadDim, kColumns> state;
  Cursor at = part.cursor;
  int firstHead = 0, heads = 0;
  for (uint32_t i = 0; i < part.tiles; i++) {
    if (i == 0 || at.startsHead()) {
      const int pass = at.head % p.passes * S::kHeads;
      firstHead = at.head / p.passes * p.group + pass;
      heads = p.group - pass < S::kHeads ? p.group - pass : S::kHeads;
      state.loadQuery(qkv + static_cast<int64_t>(at.row) * p.width + firstHead * kHeadDim, heads);
    }
    if (i == 0 || at.tile % at.tiles.chunkTiles == 0) state.clear();
    cpAsyncWait<kStages - 2>();
    __syncthreads();  // this stage is filled, and all have left the one in front
    fetch(i + kStages - 1);
    state.attend(stage(i), stage(i) + S::kStageBytes / 2, at.firstPosition() + threadIdx.x / 32 * 16, at.tiles.begin, at.tiles.end, p.scale);
    if (i + 1 == part.tiles) launchDependents();
    if (at.endsChunk()) {
      state.handOver(parts, heads);
      __syncthreads();
      fold.take(at, parts.merge(), i + 1 == part.tiles, out + (static_cast<int64_t>(at.row) * p.heads + firstHead) * kHeadDim, heads, flag);
    }
    if (i + 1 < part.tiles) at.next(p.work);
  }
}

int groupOf(const PagedAttention& a) { return a.shape.heads / a.shape.kvHeads; }
int slotsPerBlock(const PagedAttention& a) { return maxChunks(a.blockTables.columns * a.shape.blockSize); }

template <class S>
int gridOf(const PagedAttention& a, int rows, int smCount) {
  const int blocksPerSm = 2 * (S::kSharedBytes + kBlockReserve) <= sharedBytesPerSm() ? 2 : 1;
  return decodeGrid(smCount, blocksPerSm, static_cast<int64_t>(rows) * a.shape.kvHeads * ceilDiv(groupOf(a), S::kHeads) * slotsPerBlock(a));
}

// Calls f(T*, headDim, columns) with the template arguments of an operation.
template <class F>
cudaError_t withVariant(const PagedAttention& a, F f) {
  auto withType = [&](auto dim, auto columns) {
    return a.qkv.dtype == DType::f16 ? f(static_cast<__half*>(nullptr), dim, columns) : f(static_cast<__nv_bfloat16*>(nullptr), dim, columns);
  };
  return withHeadDim(a.shape.headDim, [&](auto dim) {
    // With 16 heads of 256 the outputs of a warp would not fit its registers: such groups take several passes.
    if constexpr (decltype(dim)::value <= 128) {
      if (groupOf(a) > 8) return withType(dim, std::integral_constant<int, 2>{});
    }
    return withType(dim, std::integral_constant<int, 1>{});
  });
}

}  // namespace

bool decodeTensorTakes(const PagedAttention& a) { return sixteenBit(a) && regular(a.shape) && fastHeadDim(a.shape.headDim) && groupOf(a) >= 3; }

size_t decodeTensorScratch(const PagedAttention& a, int maxRows, int smCount) {
  size_t bytes = 0;
  withVariant(a, [&](auto* element, auto dim, auto columns) {
    using S = Shape<Element<decltype(element)>, decltype(dim)::value, decltype(columns)::value>;
    bytes = static_cast<size_t>(gridOf<S>(a, maxRows, smCount)) * slotsPerBlock(a) * S::kHeads * (decltype(dim)::value + 2) * sizeof(float);
    return cudaSuccess;
  });
  return bytes;
}

cudaError_t decodeTensorLaunch(const PagedAttention& a, const Step& s) {
  return withVariant(a, [&](auto* element, auto dim, auto columns) {
    using T = Element<decltype(element)>;
    using S = Shape<T, decltype(dim)::value, decltype(columns)::value>;
    const int passes = ceilDiv(groupOf(a), S::kHeads);
    const DecodeWork work{a.sequences.as<uint32_t>(), a.blockTables.as<uint32_t>(), s.sizes.decodeSequences, a.shape.kvHeads * passes, a.window, static_cast<int>(a.blockTables.columns),
                          blockShift(a.shape), s.workspace.counters(), s.workspace.scratch<float>(), slotsPerBlock(a)};
    const Problem problem{work, static_cast<int>(a.qkv.columns), a.shape.heads, a.shape.kvHeads, groupOf(a), passes, scoreScale(a)};
    const GpuLaunch l{"attentionDecodeTensor", {static_cast<unsigned>(gridOf<S>(a, s.sizes.decodeSequences, s.smCount))}, {kAttentionThreads}, S::kSharedBytes, s.stream};
    return gpuLaunch(l, decodeTensor<T, decltype(dim)::value, decltype(columns)::value>, a.qkv.as<T>(), a.kCache.as<T>(), a.vCache.as<T>(), a.out.as<T>(), problem);
  });
}

}  // namespace quire
