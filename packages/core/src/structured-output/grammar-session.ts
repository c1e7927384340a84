/** The grammar of one completion, at the tokens that it has so far. */
export interface GrammarSession {
  /** Ids that may come next: bit id % 32 of word id / 32. null while that is being worked out. */
  readonly mask: Uint32Array | null;
  /** The grammar is fulfilled and nothing may follow, not even an end-of-sequence token. */
  readonly isOver: boolean;
  /** Takes the next token. Resolves when `mask` is that of the token after it; rejects with EngineError when that fails. */
  accept(token: number): Promise<void>;
  /** Frees what it holds; it is not used afterwards. */
  close(): void;
}
