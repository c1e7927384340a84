/** What the engine and the thread that matches grammars tell each other. Answers come in the order of the questions. */

/** The tokens as the grammar library takes them. */
export interface GrammarVocabulary {
  /** Of each id its bytes, spelled in GPT-2's byte alphabet; empty where it has no text that a grammar could match. */
  readonly tokens: readonly string[];
  /** Ids that end a text. */
  readonly stopTokenIds: readonly number[];
}

export type GrammarQuestion =
  | { readonly kind: 'open'; readonly id: number; readonly vocabulary: GrammarVocabulary }
  /**
   * Takes the tokens of a session from the `have`-th on, and asks which may follow. Where `have` is 0 the session begins, with a
   * grammar in EBNF.
   */
  | {
      readonly kind: 'advance';
      readonly id: number;
      readonly session: number;
      readonly grammar: string;
      readonly have: number;
      readonly tokens: readonly number[];
    }
  | { readonly kind: 'close'; readonly session: number };

export type GrammarAnswer =
  | {
      readonly kind: 'ok';
      readonly id: number;
      /** Ids that may follow: bit id % 32 of word id / 32. Empty for `open`. */
      readonly mask: Uint32Array;
      /** The grammar is fulfilled, and its text has ended. */
      readonly isOver: boolean;
    }
  /** The thread cannot be trusted any more. */
  | { readonly kind: 'failed'; readonly id: number; readonly problem: string };

/** One end of a thread that matches grammars. */
export interface GrammarPort {
  post(question: GrammarQuestion): void;
  /** onGone: no answer will come any more. Called once, before anything is posted. */
  listen(onAnswer: (answer: GrammarAnswer) => void, onGone: (reason: string) => void): void;
  close(): Promise<void>;
}
