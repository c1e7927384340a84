/**
 * Sizes that change from step to step. A tensor whose shape holds one of these is planned at the Program's `maxSizes`.
 *
 * - `tokens`: tokens computed in the step, over all sequences.
 * - `sequences`: rows in the batch. Decode rows (one token each) come first.
 * - `decodeSequences`: how many of them are decode rows.
 * - `samples`: positions whose logits are computed.
 * - `blocksPerSequence`: the longest block table of the batch.
 * - `maxQueryTokens`: the longest query of the batch.
 * - `deltaSegments`: segments of the row delta (only for programs that apply one).
 */
export interface StepSizes {
  tokens: number;
  sequences: number;
  decodeSequences: number;
  samples: number;
  blocksPerSequence: number;
  maxQueryTokens: number;
  deltaSegments: number;
}
export type SizeName = keyof StepSizes;
export type Dim = number | SizeName;
