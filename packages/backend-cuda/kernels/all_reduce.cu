// allReduce: out = residual + the sum of x over the ranks.
//
// Small messages: one launch, in which every rank puts x where all can read it, meets the others, and adds what all of them have,
// in the order of the ranks and in f32, rounded once (one-shot; as the custom all-reduce of vLLM). A block meets the same block of
// the other ranks and no other. What a rank reads was written for this meeting; the next one writes to the other slot, and by the
// one after that every rank has left this one, because it has come to the next.
// Larger ones: the communicator sums, and a kernel adds the residual. Where results must not depend on the batch, they go in
// pieces through the first way as well.
#include "collectives.h"
#include "lib/crew.h"
#include "lib/elements.h"
#include "lib/peers.h"

namespace quire {
namespace {

constexpr int kThreads = 512;
// More ranks read more: from so many bytes on the communicator is faster, by the measurements of vLLM's kernel.
size_t mostOneShotBytes(int ranks) { return ranks <= 4 ? kPeerSlotBytes : kPeerSlotBytes / 2; }

template <class T, int kWidth>
struct alignas(kWidth * sizeof(T)) Values {
  T at[kWidth];
};

// `count`: of Values. `residual` may be null.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) oneShotKernel(Peers peers, const Values<T, kWidth>* x, const Values<T, kWidth>* residual, Values<T, kWidth>* out, int count) {
  using V = Values<T, kWidth>;
  SHARED(bool, last, 1);
  launchDependents();
  waitForPrevious();
  PeerMemory* own = peerMemory(peers, peers.rank);
  const unsigned meeting = own->meetings + 1;
  const int first = blockIdx.x * kThreads + threadIdx.x, step = gridDim.x * kThreads;
  V* slot = reinterpret_cast<V*>(own->slots[meeting % 2]);
  for (int i = first; i < count; i += step) slot[i] = GPU_LOAD(x + i);
  meetPeers(peers, meeting);
  for (int i = first; i < count; i += step) {
    float sum[kWidth] = {};
    for (int rank = 0; rank < peers.size; rank++) {
      const V part = reinterpret_cast<const V*>(peerMemory(peers, rank)->slots[meeting % 2])[i];
      for (int j = 0; j < kWidth; j++) sum[j] += toFloat(part.at[j]);
    }
    V result = residual == nullptr ? V{} : GPU_LOAD(residual + i);
    for (int j = 0; j < kWidth; j++) result.at[j] = fromFloat<T>(residual == nullptr ? sum[j] : sum[j] + toFloat(result.at[j]));
    GPU_STORE(out + i, result);
  }
  // All blocks have read the number of the meeting.
  if (arriveLast(&own->arrived, gridDim.x, last) && threadIdx.x == 0) own->meetings = meeting;
}

template <class T, int kWidth>
cudaError_t oneShot(const AllReduce& a, int64_t from, int64_t count, const Step& s) {
  using V = Values<T, kWidth>;
  const auto at = [from](const Tensor& t) { return t ? reinterpret_cast<V*>(t.as<T>() + from) : nullptr; };
  const auto packs = static_cast<int>(count / kWidth);
  const unsigned most = s.smCount < kMostPeerBlocks ? s.smCount : kMostPeerBlocks, wanted = ceilDiv(packs, kThreads);
  return gpuLaunchWithPeers({"allReduceOneShot", {wanted < most ? wanted : most}, {kThreads}, 0, s.stream}, oneShotKernel<T, kWidth>, *a.peers, at(a.x), at(a.residual), at(a.out), packs);
}

// `residual` may be null.
template <class T>
__global__ void addResidualKernel(const T* sum, const T* residual, T* out, int64_t count) {
  launchDependents();
  waitForPrevious();
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    out[i] = fromFloat<T>(toFloat(sum[i]) + (residual == nullptr ? 0.0f : toFloat(residual[i])));
  }
}

cudaError_t addResidual(const AllReduce& a, const void* sum, int64_t count, const Step& s) {
  return withDType(a.out.dtype, [&](auto* o) {
    using T = Element<decltype(o)>;
    const unsigned blocks = ceilDiv(count, 256) < 8u * s.smCount ? ceilDiv(count, 256) : 8u * s.smCount;
    return gpuLaunch({"addResidual", {blocks}, {256}, 0, s.stream}, addResidualKernel<T>, static_cast<const T*>(sum), a.residual.as<T>(), a.out.as<T>(), count);
  });
}

int64_t countOf(const Tensor& t) { return t.rows * t.columns; }
size_t elementBytes(const Tensor& t) { return t.dtype == DType::f32 ? 4 : 2; }
bool isAligned(const Tensor& t) { return reinterpret_cast<uintptr_t>(t.data) % 16 == 0; }

// In pieces that fit a slot.
cudaError_t inPieces(const AllReduce& a, int64_t count, const Step& s) {
  return withDType(a.out.dtype, [&](auto* o) {
    using T = Element<decltype(o)>;
    constexpr int kWidth = 16 / sizeof(T);
    const int64_t most = kPeerSlotBytes / sizeof(T);
    const bool wide = count % kWidth == 0 && isAligned(a.x) && isAligned(a.residual) && isAligned(a.out);
    cudaError_t e = cudaSuccess;
    for (int64_t from = 0; from < count && e == cudaSuccess; from += most) {
      const int64_t piece = count - from < most ? count - from : most;
      e = wide ? oneShot<T, kWidth>(a, from, piece, s) : oneShot<T, 1>(a, from, piece, s);
    }
    return e;
  });
}

}  // namespace

// The sum of the communicator lies there until the residual is added.
size_t allReduceWorkspace(const AllReduce& a) { return a.ranks == nullptr || !a.residual ? 0 : workspaceBytes(countOf(a.x) * elementBytes(a.x)); }

cudaError_t allReduce(const AllReduce& a, const Step& s) {
  const int64_t count = countOf(a.out);
  if (count == 0) return cudaSuccess;
  if (a.ranks == nullptr) return a.x.data == a.out.data && !a.residual ? cudaSuccess : addResidual(a, a.x.data, count, s);
  if (a.peers != nullptr && (s.batchInvariant || count * elementBytes(a.x) <= mostOneShotBytes(a.ranks->size))) return inPieces(a, count, s);
  if (!a.residual) return a.ranks->allReduce(a.x.data, a.out.data, count, a.x.dtype, s.stream);
  void* sum = s.workspace.scratch<void>();
  const cudaError_t e = a.ranks->allReduce(a.x.data, sum, count, a.x.dtype, s.stream);
  return e == cudaSuccess ? addResidual(a, sum, count, s) : e;
}

}  // namespace quire
