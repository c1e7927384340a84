// prepareAdapters: which adapter computes each token. One thread per token, which finds its sequence by bisection: sequences stand in the
// order of their tokens, and padding, which has none, behind them.
#include "lib/elements.h"
#include "lib/row_adapter.h"
#include "lib/row_state.h"
#include "ops/lora.h"

namespace quire {
namespace {

constexpr int kThreads = 128;

__global__ void prepareAdaptersKernel(const uint32_t* sequences, const uint32_t* rows, uint32_t* adapters, int numSequences, int numTokens) {
  launchDependents();
  waitForPrevious();
  const int token = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (token >= numTokens) return;
  int low = 0, high = numSequences;
  while (low < high) {
    const int middle = (low + high) / 2;
    const uint32_t* record = sequences + middle * SEQUENCE_WORDS;
    const bool begins = record[Sequence::queryLen] > 0 && record[Sequence::queryStart] <= static_cast<uint32_t>(token);
    low = begins ? middle + 1 : low;
    high = begins ? high : middle;
  }
  uint32_t adapter = NONE;
  if (low > 0) {
    const uint32_t* record = sequences + (low - 1) * SEQUENCE_WORDS;
    const bool isIn = static_cast<uint32_t>(token) < record[Sequence::queryStart] + record[Sequence::queryLen];
    if (isIn && record[Sequence::contextLen] > 0) adapter = rows[static_cast<int64_t>(record[Sequence::row]) * ROW_WORDS + Row::adapter];
  }
  adapters[token] = adapter;
}

}  // namespace

cudaError_t prepareAdapters(const PrepareAdapters& a, const Step& s) {
  if (a.adapters.rows == 0) return cudaSuccess;
  return gpuLaunch({"prepareAdapters", {ceilDiv(a.adapters.rows, kThreads)}, {kThreads}, 0, s.stream}, prepareAdaptersKernel, a.sequences.as<uint32_t>(), a.rows.as<uint32_t>(), a.adapters.as<uint32_t>(),
                   static_cast<int>(a.sequences.rows), static_cast<int>(a.adapters.rows));
}

}  // namespace quire
