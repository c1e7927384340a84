import type { Request } from './request.ts';
import type { PromptLookupConfig } from './speculative-config.ts';
import type { Speculator } from './speculator.ts';

const NOTHING = new Uint32Array(0);

/** Prompt lookup (Saxena 2023): drafts are what followed the last n-gram of a sequence where it stood before. */
export class PromptLookup implements Speculator {
  readonly numSpeculativeTokens: number;
  readonly #min: number;
  readonly #max: number;

  constructor({ numSpeculativeTokens, promptLookupMin, promptLookupMax }: PromptLookupConfig) {
    this.numSpeculativeTokens = numSpeculativeTokens;
    this.#min = promptLookupMin;
    this.#max = promptLookupMax;
  }

  propose({ tokens, numTokens }: Request, most: number): Uint32Array {
    const end = lookUp(tokens, numTokens, this.#min, this.#max, most);
    return end < 0 ? NOTHING : tokens.subarray(end, Math.min(end + most, numTokens));
  }
}

/**
 * Where the longest n-gram, of `min` to `max` tokens, that ends the sequence ended before; -1 where none did. Of equally long ones
 * the latest counts that has `wanted` tokens behind it, else the earliest.
 */
function lookUp(tokens: Uint32Array, length: number, min: number, max: number, wanted: number): number {
  let best = -1;
  let bestLength = min;
  for (let end = length - 1; end >= bestLength; end--) {
    const isLongEnough = best >= 0 && length - best >= wanted;
    if (isLongEnough && bestLength === max) break;
    let n = 0;
    while (n < max && n < end && tokens[end - 1 - n] === tokens[length - 1 - n]) n++;
    if (n < bestLength || (n === bestLength && isLongEnough)) continue;
    best = end;
    bestLength = n;
  }
  return best;
}
