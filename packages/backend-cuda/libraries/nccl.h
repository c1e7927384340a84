// Groups of devices through NCCL, which is opened where it is found.
#pragma once
#include <atomic>
#include <memory>
#include <string>

#include "../kernels/collectives.h"
#include "nccl-api.h"

namespace quire {

// The library, opened once. Throws std::runtime_error with every place that was tried, or with what it lacks.
const nccl::Api& ncclApi();
// What all ranks of a group must have before they can join it; made by one of them.
nccl::UniqueId ncclUniqueId();

// The current device's place in a group.
class NcclCommunicator : public Communicator {
 public:
  // Returns when all ranks have come. Throws std::runtime_error.
  NcclCommunicator(const nccl::UniqueId& id, int rank, int size);
  ~NcclCommunicator() override;
  NcclCommunicator(const NcclCommunicator&) = delete;

  cudaError_t allReduce(const void* from, void* to, size_t count, DType, cudaStream_t) override;
  cudaError_t allGather(const void* from, void* to, size_t count, DType, cudaStream_t) override;
  cudaError_t broadcast(void* data, size_t count, DType, int from, cudaStream_t) override;
  cudaError_t send(const void* from, size_t count, DType, int to, cudaStream_t) override;
  cudaError_t recv(void* to, size_t count, DType, int from, cudaStream_t) override;

  // From any thread: what stands still in the stream goes on, with data that means nothing, and no call reaches the others any
  // more.
  void abort();

 private:
  template <class Call>
  cudaError_t enqueue(Call call);

  const nccl::Api& api_;
  nccl::Comm comm_ = nullptr;
  std::atomic<bool> aborted_{false};
};

}  // namespace quire
