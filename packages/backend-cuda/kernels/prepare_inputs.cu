// prepareInputs: ids, positions, slots and sequence records of a step from the row state. One block per sequence; the
// blocks behind them fill the padding up to the bucket. With prepareSamples behind it, each block writes its samples too.
#include "lib/elements.h"
#include "lib/sample_records.h"
#include "ops/joint.h"

namespace quire {
namespace {

struct Pointers {
  uint32_t* batch;
  const uint32_t *rows, *tokenIds, *blockTables;
  uint32_t *inputIds, *positions, *slotMapping, *sequences;
  // Null without prepareSamples.
  uint32_t* samples;
};

__device__ bool isLive(const uint32_t* row, uint32_t queryLen, uint32_t sampleCount) {
  const uint32_t end = row[Row::numComputed] + queryLen, known = row[Row::numTokens];
  const uint32_t reach = known < row[Row::blockCredit] ? known : row[Row::blockCredit];
  const bool beyondLimit = sampleCount > 0 && end == known && known >= row[Row::tokenLimit];
  return end <= reach && !beyondLimit;
}

__global__ void prepareInputsKernel(Pointers p, int sequences, int tokens, int samples, int maxModelLen, int maxBlocks, int blockSize) {
  launchDependents();
  waitForPrevious();
  const uint32_t numSequences = p.batch[BatchHeader::numSequences];
  const int i = blockIdx.x;
  if (i == sequences) {
    for (int t = p.batch[BatchHeader::numTokens] + threadIdx.x; t < tokens; t += blockDim.x)
      p.inputIds[t] = 0, p.positions[t] = 0, p.slotMapping[t] = NONE;
    if (p.samples != nullptr) padSamples(p.samples, p.batch, samples);
    if (threadIdx.x == 0) p.batch[BatchHeader::stepCounter]++;
    return;
  }
  uint32_t* to = p.sequences + i * SEQUENCE_WORDS;
  if (i >= static_cast<int>(numSequences)) {
    if (threadIdx.x < SEQUENCE_WORDS) to[threadIdx.x] = 0;
    return;
  }
  const uint32_t* b = p.batch + (1 + i) * BATCH_WORDS;
  const uint32_t rowIndex = b[Batch::row], start = b[Batch::queryStart], queryLen = b[Batch::queryLen], sampleCount = b[Batch::sampleCount];
  const uint32_t* row = p.rows + rowIndex * ROW_WORDS;
  const uint32_t first = row[Row::numComputed];
  const bool live = isLive(row, queryLen, sampleCount);
  uint32_t record[SEQUENCE_WORDS];
  record[Sequence::row] = rowIndex;
  record[Sequence::queryStart] = start;
  record[Sequence::queryLen] = queryLen;
  record[Sequence::contextLen] = live ? first + queryLen : 0;
  record[Sequence::sampleStart] = b[Batch::sampleStart];
  record[Sequence::sampleCount] = sampleCount;
  record[Sequence::firstPosition] = first;
  record[Sequence::numTokens] = row[Row::numTokens];
#pragma unroll
  for (int w = 0; w < SEQUENCE_WORDS; w++) {
    if (threadIdx.x == 0) to[w] = record[w];
  }
  for (uint32_t j = threadIdx.x; j < queryLen; j += blockDim.x) {
    const uint32_t position = first + j;
    p.inputIds[start + j] = live ? p.tokenIds[static_cast<int64_t>(rowIndex) * maxModelLen + position] : 0;
    p.positions[start + j] = live ? position : 0;
    p.slotMapping[start + j] = live ? p.blockTables[static_cast<int64_t>(rowIndex) * maxBlocks + position / blockSize] * blockSize + position % blockSize : NONE;
  }
  if (p.samples != nullptr) writeSamples(p.samples, record, p.tokenIds, maxModelLen);
}

cudaError_t launch(const PrepareInputs& a, uint32_t* samples, const Step& s) {
  const Pointers p{a.batch.as<uint32_t>(),    a.rows.as<uint32_t>(),      a.tokenIds.as<uint32_t>(),    a.blockTables.as<uint32_t>(),
                   a.inputIds.as<uint32_t>(), a.positions.as<uint32_t>(), a.slotMapping.as<uint32_t>(), a.sequences.as<uint32_t>(), samples};
  const unsigned threads = s.sizes.maxQueryTokens > 32 ? 128 : 32;
  return gpuLaunch({"prepareInputs", {static_cast<unsigned>(s.sizes.sequences + 1)}, {threads}, 0, s.stream}, prepareInputsKernel, p, s.sizes.sequences, s.sizes.tokens, s.sizes.samples,
                   static_cast<int>(a.tokenIds.columns), static_cast<int>(a.blockTables.columns), a.blockSize);
}

}  // namespace

cudaError_t prepareInputs(const PrepareInputs& a, const Step& s) { return launch(a, nullptr, s); }

cudaError_t prepareInputsAndSamples(const PrepareInputs& a, const PrepareSamples& samples, const Step& s) { return launch(a, samples.samples.as<uint32_t>(), s); }

}  // namespace quire
