import { availableParallelism } from 'node:os';
import type { EngineConfig, Tokenizer } from '@quire/core';
import type { ServingTokenizer } from '../app/context.ts';
import { TokenizerThread } from './tokenizer-thread.ts';

/**
 * Characters from which on a prompt goes to a thread. Below, the tokenizer takes about as long as the way to a thread and
 * back: one or two milliseconds (docs/benchmarks.md).
 */
const LONG_TEXT = 8192;
const MAX_THREADS = 4;

/** The tokenizer of a server: short prompts are tokenised where they come in, long ones on threads, so that they hold nobody up. */
export class ThreadedTokenizer implements ServingTokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #threads: readonly TokenizerThread[];
  readonly #longText: number;

  /** `config`: where threads find the same tokenizer. */
  constructor(tokenizer: Tokenizer, config: EngineConfig, longText = LONG_TEXT) {
    this.#tokenizer = tokenizer;
    this.#longText = longText;
    // The loop and the engine have their cores.
    const count = Math.max(1, Math.min(MAX_THREADS, availableParallelism() - 2));
    this.#threads = Array.from({ length: count }, () => new TokenizerThread(config));
  }

  get vocabSize(): number {
    return this.#tokenizer.vocabSize;
  }

  get hasChatTemplate(): boolean {
    return this.#tokenizer.hasChatTemplate;
  }

  get chatTemplate(): Tokenizer['chatTemplate'] {
    return this.#tokenizer.chatTemplate;
  }

  get specialTokenIds(): ReadonlySet<number> {
    return this.#tokenizer.specialTokenIds;
  }

  decode(...args: Parameters<Tokenizer['decode']>): string {
    return this.#tokenizer.decode(...args);
  }

  tokenToId(token: string): number | undefined {
    return this.#tokenizer.tokenToId(token);
  }

  tokenBytes(id: number): Uint8Array {
    return this.#tokenizer.tokenBytes(id);
  }

  encode(...args: Parameters<Tokenizer['encode']>): number[] | Promise<number[]> {
    if (args[0].length < this.#longText) return this.#tokenizer.encode(...args);
    return this.#thread().ask({ kind: 'encode', args });
  }

  encodeChat(...args: Parameters<Tokenizer['encodeChat']>): number[] | Promise<number[]> {
    if (!holdsText(args, this.#longText)) return this.#tokenizer.encodeChat(...args);
    return this.#thread().ask({ kind: 'encodeChat', args });
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#threads.map(thread => thread.dispose()));
  }

  #thread(): TokenizerThread {
    return this.#threads.reduce((best, thread) => (thread.numAsked < best.numAsked ? thread : best));
  }
}

/** What a value costs beside its text: a message, a tool, a field. */
const ENTRY_LENGTH = 16;

/** Whether the strings in a value of JSON have so many characters together. Looks no further than that. */
export function holdsText(value: unknown, length: number): boolean {
  const values: unknown[] = [value];
  let found = 0;
  while (values.length > 0 && found < length) {
    const next = values.pop();
    found += typeof next === 'string' ? next.length : ENTRY_LENGTH;
    if (typeof next === 'object' && next !== null) for (const inner of Object.values(next)) values.push(inner);
  }
  return found >= length;
}
