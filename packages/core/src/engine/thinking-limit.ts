import type { ThinkingBudget } from '../sampling/sampling-params.ts';

/** The tokens of one completion, its prompt in front. */
export interface TokenSequence {
  readonly tokens: Uint32Array;
  readonly numTokens: number;
  readonly numPromptTokens: number;
}

/** Follows the reasoning of one completion by its markers, and says when it has used up its budget. */
export class ThinkingLimit {
  readonly endTokenId: number;
  readonly #budget: ThinkingBudget;
  #isInside: boolean;
  #isOver = false;
  /** Tokens of the output that were looked at, and how many of them are reasoning. */
  #seen = 0;
  #spent = 0;

  constructor(budget: ThinkingBudget) {
    this.#budget = budget;
    this.endTokenId = budget.endTokenId;
    this.#isInside = budget.isOpen;
  }

  /** Whether the next token must be the one that ends the reasoning. Tokens are looked at once: none is ever taken back. */
  isSpent({ tokens, numTokens, numPromptTokens }: TokenSequence): boolean {
    for (const end = numTokens - numPromptTokens; this.#seen < end && !this.#isOver; this.#seen++) {
      this.#look(tokens[numPromptTokens + this.#seen]!);
    }
    return this.#isInside && !this.#isOver && this.#spent >= this.#budget.tokens;
  }

  /** One reasoning is limited: markers behind its end are text. */
  #look(token: number): void {
    if (token === this.#budget.endTokenId) this.#isOver = true;
    else if (token === this.#budget.beginTokenId) this.#isInside = true;
    else if (this.#isInside) this.#spent++;
  }
}
