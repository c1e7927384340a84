// Results of decode attention: of the parts of a block (its warps, or groups of lanes) within a chunk, and of the chunks of a
// row. A result is the maximum score, the sum of the weights and the unnormalised output of each of kHeads query heads. Each
// thread keeps one head and every kLanes-th dimension of it.
#pragma once
#include "../lib/crew.h"
#include "decode_work.h"

namespace quire {

template <int kHeadDim, int kHeads>
struct HeadResult {
  static constexpr int kLanes = kAttentionThreads / kHeads, kOwn = (kHeadDim + kLanes - 1) / kLanes;
  float max, sum, out[kOwn];

  __device__ static int head() { return threadIdx.x / kLanes; }
  __device__ static int dim(int i) { return threadIdx.x % kLanes + i * kLanes; }

  // The result of more positions, all behind these. The operations are written out, so that every place that folds rounds alike.
  __device__ void fold(const HeadResult& next) {
    const float newMax = fmaxf(max, next.max), base = finiteMax(newMax);
    const float old = exp2Approximate(max - base), fresh = exp2Approximate(next.max - base);
    max = newMax;
    sum = __fmaf_rn(next.sum, fresh, sum * old);
#pragma unroll
    for (int i = 0; i < kOwn; i++) out[i] = __fmaf_rn(next.out[i], fresh, out[i] * old);
  }
};

// Shared memory through which kParts parts of a block hand over their results. Rows are four floats longer than a head, so
// that lanes which hold fragments of tensor cores write without bank conflicts.
template <int kHeadDim, int kHeads, int kParts>
struct PartResults {
  static constexpr int kStride = kHeadDim + 4;
  static constexpr int kBytes = kParts * kHeads * (kStride + 2) * static_cast<int>(sizeof(float));
  float* memory;

  __device__ float* out(int part, int head) const { return memory + (part * kHeads + head) * kStride; }
  __device__ float& max(int part, int head) const { return memory[kParts * kHeads * kStride + part * kHeads + head]; }
  __device__ float& sum(int part, int head) const { return memory[kParts * kHeads * (kStride + 1) + part * kHeads + head]; }

  __device__ HeadResult<kHeadDim, kHeads> merge() const {
    using Result = HeadResult<kHeadDim, kHeads>;
    const int head = Result::head();
    Result r{-INFINITY, 0.0f, {}};
    for (int part = 0; part < kParts; part++) r.max = fmaxf(r.max, max(part, head));
    const float base = finiteMax(r.max);
    for (int part = 0; part < kParts; part++) {
      const float factor = exp2Approximate(max(part, head) - base);
      r.sum = __fmaf_rn(sum(part, head), factor, r.sum);
#pragma unroll
      for (int i = 0; i < Result::kOwn; i++) {
        if (Result::dim(i) < kHeadDim) r.out[i] = __fmaf_rn(out(part, head)[Result::dim(i)], factor, r.out[i]);
      }
    }
    return r;
  }
};

// Takes the chunks of a block's part in order and sees each (row, work head) through to its output.
template <class T, int kHeadDim, int kHeads, class Crew = WholeBlock>
class ChunkFold {
 public:
  using Result = HeadResult<kHeadDim, kHeads>;
  static constexpr int kSlotFloats = kHeads * (kHeadDim + 2);

  __device__ ChunkFold(const DecodeWork& work, const BlockPart& part) : work_(work), share_(part.share) {}

  // By all threads. The chunk that starts at the cursor. `to` is the first query head's output, of `heads` that count;
  // `partEnds` says that it is the block's last chunk.
  __device__ void take(const Cursor& at, const Result& chunk, bool partEnds, T* to, int heads, bool* sharedFlag) {
    const uint32_t index = at.tile / at.tiles.chunkTiles;
    if (owned_ == 0) first_ = index;
    if (first_ > 0) store(slot(at, index), chunk, heads);
    else if (owned_ == 0) result_ = chunk;
    else result_.fold(chunk);
    owned_++;
    if (at.tilesOfHeadLeft() > at.tilesOfChunk() && !partEnds) return;
    finish(at, to, heads, sharedFlag);
    owned_ = 0;
  }

 private:
  // The block that owns the first chunk of the cursor's head keeps the counter and the slots of that head.
  __device__ uint32_t keeper(const Cursor& at) const { return at.headStart() / share_; }
  __device__ float* slot(const Cursor& at, uint32_t chunk) const { return work_.slots + (static_cast<int64_t>(keeper(at)) * work_.slotsPerBlock + chunk) * kSlotFloats; }

  __device__ void finish(const Cursor& at, T* to, int heads, bool* sharedFlag) {
    const uint32_t chunks = (at.tiles.tiles + at.tiles.chunkTiles - 1) / at.tiles.chunkTiles;
    if (owned_ < chunks) {
      // The first slot holds what the keeper has folded.
      if (first_ == 0) store(slot(at, 0), result_, heads);
      if (!arriveLast<Crew>(work_.counters + keeper(at), chunks, sharedFlag, owned_)) return;
      if (Result::head() < heads) foldSlots(at, chunks);
    }
    if (Result::head() >= heads) return;
    const float scale = 1.0f / result_.sum;
#pragma unroll
    for (int i = 0; i < Result::kOwn; i++) {
      if (Result::dim(i) < kHeadDim) to[Result::head() * kHeadDim + Result::dim(i)] = fromFloat<T>(result_.out[i] * scale);
    }
  }
  // What all blocks have stored of a head, in the order of its positions. Several loads are under way at once.
  __device__ void foldSlots(const Cursor& at, uint32_t chunks) {
    constexpr uint32_t kAtOnce = Result::kOwn <= 4 ? 8 : Result::kOwn <= 8 ? 4 : 2;
    const uint32_t keeperEnd = (keeper(at) + 1) * share_ - at.headStart();
    const float* from = slot(at, 0);
    load(from, result_);
    for (uint32_t first = (keeperEnd + at.tiles.chunkTiles - 1) / at.tiles.chunkTiles; first < chunks; first += kAtOnce) {
      Result next[kAtOnce];
#pragma unroll
      for (uint32_t i = 0; i < kAtOnce; i++) {
        if (first + i < chunks) load(from + (first + i) * kSlotFloats, next[i]);
      }
#pragma unroll
      for (uint32_t i = 0; i < kAtOnce; i++) {
        if (first + i < chunks) result_.fold(next[i]);
      }
    }
  }
  __device__ static void store(float* to, const Result& r, int heads) {
    const int head = Result::head();
    if (head >= heads) return;
#pragma unroll
    for (int i = 0; i < Result::kOwn; i++) {
      if (Result::dim(i) < kHeadDim) to[head * kHeadDim + Result::dim(i)] = r.out[i];
    }
    if (Result::dim(0) == 0) to[kHeads * kHeadDim + head] = r.max, to[kHeads * (kHeadDim + 1) + head] = r.sum;
  }
  // Plain loads: other blocks of this launch wrote these words.
  __device__ static void load(const float* from, Result& r) {
    const int head = Result::head();
#pragma unroll
    for (int i = 0; i < Result::kOwn; i++) r.out[i] = Result::dim(i) < kHeadDim ? from[head * kHeadDim + Result::dim(i)] : 0.0f;
    r.max = from[kHeads * kHeadDim + head], r.sum = from[kHeads * (kHeadDim + 1) + head];
  }

  const DecodeWork& work_;
  uint32_t share_, first_ = 0, owned_ = 0;
  Result result_{};
};

}  // namespace quire
