import type { ReasoningStart, ReasoningSyntax } from './reasoning-parser.ts';

/** What is asked of a tokenizer to count the tokens of a reasoning. */
export interface MarkerTokens {
  tokenToId(token: string): number | undefined;
}

/** Ids of the markers around a reasoning. */
export interface ReasoningMarks {
  readonly begin: number | undefined;
  readonly end: number;
  readonly isImplied: boolean;
}

/** null: the end of the reasoning is not one token of this model. */
export function reasoningMarks(syntax: ReasoningSyntax, tokenizer: MarkerTokens): ReasoningMarks | null {
  const end = tokenizer.tokenToId(syntax.end);
  return end === undefined ? null : { begin: tokenizer.tokenToId(syntax.begin), end, isImplied: syntax.isImplied };
}

/** Counts the tokens of one completion's reasoning, without its markers, as vLLM does. */
export class ReasoningTokens {
  count = 0;
  readonly #marks: ReasoningMarks;
  #state: ReasoningStart;

  constructor(marks: ReasoningMarks, start: ReasoningStart) {
    this.#marks = marks;
    this.#state = start === 'before' && marks.isImplied ? 'inside' : start;
  }

  /** Takes the next tokens. */
  add(tokenIds: readonly number[]): void {
    for (const id of tokenIds) {
      if (this.#state === 'after') return;
      if (id === this.#marks.begin) this.#state = 'inside';
      else if (id === this.#marks.end) this.#state = 'after';
      else if (this.#state === 'inside') this.count++;
    }
  }
}
