import type { CompletionOutput } from '@quire/core';

/** What one choice gained since its last chunk. */
export type ChoiceDelta = Omit<CompletionOutput, 'cumulativeLogprob'>;

/** Joins the deltas of a choice that have no text yet with those that follow: a chunk is sent when there is text to show. */
export class ChoiceDeltas {
  #held: ChoiceDelta | null = null;

  /** The delta to send now, or null. */
  add(delta: ChoiceDelta): ChoiceDelta | null {
    const joined = this.#held === null ? delta : join(this.#held, delta);
    const ready = joined.text !== '' || joined.finishReason !== null;
    this.#held = ready ? null : joined;
    return ready ? joined : null;
  }
}

/** The two as one. */
export function join(first: ChoiceDelta, second: ChoiceDelta): ChoiceDelta {
  return {
    ...second,
    text: first.text + second.text,
    tokenIds: [...first.tokenIds, ...second.tokenIds],
    logprobs: second.logprobs && [...(first.logprobs ?? []), ...second.logprobs],
  };
}
