#include "linear-agreement.h"

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <vector>

namespace quire {
namespace {

// As words, in which communicators count.
struct ChoiceWords {
  uint64_t library;
  cublaslt::Algo algo;
};
constexpr size_t kWord = sizeof(uint32_t), kChoiceBytes = sizeof(ChoiceWords), kDigestBytes = sizeof(uint64_t);
static_assert(kChoiceBytes % kWord == 0 && kDigestBytes % kWord == 0, "whole words");

}  // namespace

LinearAgreement::LinearAgreement(Communicator& ranks, cudaStream_t stream) : ranks_(ranks), stream_(stream) {
  const size_t bytes = std::max(kChoiceBytes, (ranks.size + 1) * kDigestBytes);
  if (cudaMalloc(&memory_, bytes) != cudaSuccess) {
    cudaGetLastError();
    throw std::runtime_error("no memory for the choices of a group of GPUs");
  }
}

LinearAgreement::~LinearAgreement() { cudaFree(memory_); }

bool LinearAgreement::isSame(const std::string& library, cudaError_t& error) {
  const uint64_t own = std::hash<std::string>{}(library);
  std::vector<uint64_t> all(ranks_.size, own);
  char* const gathered = static_cast<char*>(memory_) + kDigestBytes;
  error = cudaMemcpyAsync(memory_, &own, kDigestBytes, cudaMemcpyHostToDevice, stream_);
  if (error == cudaSuccess) error = ranks_.allGather(memory_, gathered, kDigestBytes / kWord, DType::u32, stream_);
  if (error == cudaSuccess) error = cudaMemcpyAsync(all.data(), gathered, all.size() * kDigestBytes, cudaMemcpyDeviceToHost, stream_);
  if (error == cudaSuccess) error = cudaStreamSynchronize(stream_);
  return error == cudaSuccess && std::all_of(all.begin(), all.end(), [own](uint64_t other) { return other == own; });
}

LinearChoice LinearAgreement::ofFirst(const LinearChoice& own, cudaError_t& error) {
  ChoiceWords words{own.library, own.algo};
  error = cudaMemcpyAsync(memory_, &words, kChoiceBytes, cudaMemcpyHostToDevice, stream_);
  if (error == cudaSuccess) error = ranks_.broadcast(memory_, kChoiceBytes / kWord, DType::u32, 0, stream_);
  if (error == cudaSuccess) error = cudaMemcpyAsync(&words, memory_, kChoiceBytes, cudaMemcpyDeviceToHost, stream_);
  if (error == cudaSuccess) error = cudaStreamSynchronize(stream_);
  return {words.library != 0, words.algo};
}

}  // namespace quire
