// Launch functions of the operations in which the devices of a group meet, beside those of kernels.h. A device that is alone has
// no communicators: it is a group of one.
#pragma once
#include "ops/step.h"

namespace quire {

// How the devices of a group reach one another. All of them make the same calls in the same order; a call is enqueued on the
// stream, may be captured, and stands still there until the others have come to it. `count`: elements.
class Communicator {
 public:
  Communicator(int ownRank, int ranks) : rank(ownRank), size(ranks) {}
  virtual ~Communicator() = default;
  // `to` = the sum of `from` over all ranks, in an order that is the same on every rank. `to` may be `from`.
  virtual cudaError_t allReduce(const void* from, void* to, size_t count, DType, cudaStream_t) = 0;
  // `to` = `from` of all ranks, one after the other.
  virtual cudaError_t allGather(const void* from, void* to, size_t count, DType, cudaStream_t) = 0;
  virtual cudaError_t broadcast(void* data, size_t count, DType, int from, cudaStream_t) = 0;
  virtual cudaError_t send(const void* from, size_t count, DType, int to, cudaStream_t) = 0;
  virtual cudaError_t recv(void* to, size_t count, DType, int from, cudaStream_t) = 0;

  const int rank, size;
};

// Memory that each of these ranks reaches: GPUs of one machine with access to one another, in one process or in several.
constexpr int kMostPeers = 8;
struct Peers {
  int rank = 0, size = 1;
  // Of each rank; see lib/peers.h.
  void* memory[kMostPeers] = {};
  // A word of the host, not 0 once nobody is to wait any more.
  const unsigned* aborted = nullptr;
};

// The devices that divide each weight, and those of one rank in all stages. Null where a device is alone.
struct Communicators {
  Communicator *tensor = nullptr, *pipeline = nullptr;
  // The ranks of `tensor`, where they reach one another's memory.
  const Peers* peers = nullptr;
};

struct VocabParallelEmbed { Tensor ids, table, out; int rank, rowsPerRank, firstRow; };
struct AllReduce { Tensor x, residual, out; Communicator* ranks; const Peers* peers = nullptr; };
struct AllGather { Tensor x, out; Communicator* ranks; };
struct Send { Tensor x; int toStage; Communicator* stages; };
struct Recv { Tensor out; int fromStage; Communicator* stages; };
struct Broadcast { Tensor x; int fromStage; Communicator* stages; };

cudaError_t vocabParallelEmbed(const VocabParallelEmbed&, const Step&);
cudaError_t allReduce(const AllReduce&, const Step&);
cudaError_t allGather(const AllGather&, const Step&);
cudaError_t send(const Send&, const Step&);
cudaError_t recv(const Recv&, const Step&);
cudaError_t broadcast(const Broadcast&, const Step&);

// Bytes of workspace at the largest sizes.
size_t allReduceWorkspace(const AllReduce&);
size_t allGatherWorkspace(const AllGather&);

}  // namespace quire
