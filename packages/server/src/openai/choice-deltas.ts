import type { CompletionOutput } from '@quire/core';

/** What one choice gained since its last chunk. */
export type ChoiceDelta = Omit<CompletionOutput, 'cumulativeLogprob'>;

/**
 * Joins the deltas of a choice that have no text yet with those that follow: a chunk is sent when there is text to show. Chunks
 * but the first and the last have at least `interval` tokens.
 */
export class ChoiceDeltas {
  readonly #interval: number;
  #isFirst = true;
  #held: ChoiceDelta | null = null;

  constructor(interval: number) {
    this.#interval = interval;
  }

  /** The delta to send now, or null. */
  add(delta: ChoiceDelta): ChoiceDelta | null {
    const joined = this.#held === null ? delta : join(this.#held, delta);
    const isDue = this.#isFirst || joined.tokenIds.length >= this.#interval;
    const ready = (isDue && joined.text !== '') || joined.finishReason !== null;
    if (ready) this.#isFirst = false;
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
