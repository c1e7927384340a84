// Words of the row state, as contract.ts lays them out (a test compares the two).
#pragma once
#include <cstdint>

namespace quire {

namespace Row {
enum : int { numTokens, numComputed, tokenLimit, blockCredit, promptTokens, temperature, topK, topP, minP, seedLow, seedHigh, presencePenalty, frequencyPenalty, repetitionPenalty, minTokensUntil, numStopIds, numBiases, masked };
}
constexpr int ROW_WORDS = 24;
namespace Batch {
enum : int { row, queryStart, queryLen, sampleStart, sampleCount };
}
namespace BatchHeader {
enum : int { numSequences, stepCounter, numTokens, numSamples };
}
constexpr int BATCH_WORDS = 8;
namespace Sequence {
enum : int { row, queryStart, queryLen, contextLen, sampleStart, sampleCount, firstPosition, numTokens };
}
constexpr int SEQUENCE_WORDS = 8;
// The record of a position whose logits are computed; the operation that chooses its token is quire::sample.
namespace SampleWord {
enum : int { token, row, position, target };
}
constexpr int SAMPLE_WORDS = 4;
constexpr uint32_t NONE = 0xffffffffu;
constexpr uint32_t SAMPLE_LIVE = 1, SAMPLE_FINITE = 2;
namespace DeltaTarget {
enum : int { rows, blockTables, tokenIds, batch, biases };
}
constexpr int DELTA_HEADER_WORDS = 4, DELTA_SEGMENT_WORDS = 4;
constexpr float MASKED_LOGIT = -3.0e38f;
constexpr float NO_THRESHOLD = -3.4028234663852886e38f;

}  // namespace quire
