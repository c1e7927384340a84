import { NONE, ROW_WORDS, Row } from '../contract/contract.ts';
import type { NewRow, RowSampling } from './types.ts';

const words = new Uint32Array(ROW_WORDS);
const floats = new Float32Array(words.buffer);

/** The `rows` record of a request that takes a row. Valid until the next call. */
export function rowRecord(row: NewRow, blockCredit: number): Uint32Array {
  const { sampling } = row;
  words.fill(0);
  words[Row.numTokens] = row.tokenIds.length;
  words[Row.numComputed] = row.numComputed;
  words[Row.tokenLimit] = row.tokenLimit;
  words[Row.blockCredit] = blockCredit;
  words[Row.promptTokens] = row.promptTokens;
  floats[Row.temperature] = sampling.temperature;
  words[Row.topK] = sampling.topK;
  floats[Row.topP] = sampling.topP;
  floats[Row.minP] = sampling.minP;
  words[Row.seedLow] = Number(sampling.seed & 0xffffffffn);
  words[Row.seedHigh] = Number((sampling.seed >> 32n) & 0xffffffffn);
  floats[Row.presencePenalty] = sampling.presencePenalty;
  floats[Row.frequencyPenalty] = sampling.frequencyPenalty;
  floats[Row.repetitionPenalty] = sampling.repetitionPenalty;
  words[Row.minTokensUntil] = row.promptTokens + sampling.minTokens;
  words[Row.numStopIds] = maskedStopIds(sampling).length;
  words[Row.numBiases] = sampling.logitBias.length;
  words[Row.masked] = Number(sampling.masked);
  words[Row.adapter] = row.adapterSlot ?? NONE;
  return words;
}

/** The `biases` list of a row: stop ids while there is a minimum of tokens, then (id, bias) pairs. */
export function biasList(sampling: RowSampling): Uint32Array {
  const stopIds = maskedStopIds(sampling);
  const list = new Uint32Array(stopIds.length + 2 * sampling.logitBias.length);
  list.set(stopIds);
  const biases = new Float32Array(list.buffer);
  sampling.logitBias.forEach(([id, bias], index) => {
    list[stopIds.length + 2 * index] = id;
    biases[stopIds.length + 2 * index + 1] = bias;
  });
  return list;
}

/** Stop ids matter to the device only while they are masked. */
function maskedStopIds(sampling: RowSampling): number[] {
  return sampling.minTokens > 0 ? [...new Set(sampling.stopTokenIds)] : [];
}
