import type { ResolvedSamplingParams } from '@quire/core';
import { beamOracle, type FoundBeam } from '../../support/beam-oracle.ts';
import { fakeLogprob, NAN_MARKER, oracleStates } from '../../support/symbolic-model.ts';
import { EOS } from './helpers.ts';

class NotFinite extends Error {}

/** What beam search over the symbolic model finds; null when it meets logits that are not finite. */
export async function symbolicBeams(
  prompt: readonly number[],
  params: ResolvedSamplingParams,
  vocabSize: number,
): Promise<FoundBeam[] | null> {
  const stopTokenIds = [...params.stopTokenIds];
  const masked = params.minTokens > 0 ? new Set([EOS, ...stopTokenIds]).size : 0;
  const count = Math.min(vocabSize, 2 * params.bestOf + masked);
  const next = (tokens: readonly number[]) => {
    const state = oracleStates(tokens).at(-1)!;
    if (state === NAN_MARKER) throw new NotFinite();
    return Array.from({ length: count }, (_, k) => ({
      tokenId: (state + k) % vocabSize,
      logprob: fakeLogprob(state, k + 1),
    }));
  };
  try {
    return await beamOracle(prompt, next, { ...params, width: params.bestOf, eos: EOS, stopTokenIds });
  } catch (error) {
    if (error instanceof NotFinite) return null;
    throw error;
  }
}
