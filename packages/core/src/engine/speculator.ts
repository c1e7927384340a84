import type { Request } from './request.ts';

/** A request whose next step is one of decode, and how many drafts could be checked in it. */
export interface DraftWish {
  readonly request: Request;
  readonly most: number;
}

/**
 * Guesses at tokens of sequences (speculative decoding, Leviathan et al. 2023). A draft is accepted exactly when it is the token
 * that the target samples in its place, with the noise of that position: outputs are those of plain decoding, whatever is guessed.
 */
export interface Speculator {
  /** Most drafts of a sequence in a step. */
  readonly numSpeculativeTokens: number;
  /** Makes drafts ahead of `propose`, where that takes the device. Rejects as a step does. Absent: nothing has to be made. */
  prepare?(wishes: readonly DraftWish[]): Promise<void>;
  /** What may follow the tokens of a request, all of which are known: `most` tokens at most. Valid until the next call. */
  propose(request: Request, most: number): Uint32Array;
  /** Forgets a request that ended, or was taken out of the schedule. */
  release?(request: Request): void;
  /** Forgets cached prefixes. */
  resetPrefixCache?(): void;
}
