import { InvalidRequestError } from '@quire/core';
import { expect } from 'vitest';
import { GrammarService } from '../../../packages/core/src/structured-output/grammar-service.ts';
import {
  checkStructuredOutputs,
  type StructuredOutputs,
} from '../../../packages/core/src/structured-output/structured-outputs.ts';
import { openGrammarThread } from '../../../packages/server/src/node/grammar-thread.ts';

export const VOCAB = 258;
export const EOS = 256;
/** Each byte is a token of its own, so that a walk may take every turn. */
export const bytes = {
  vocabSize: 257,
  specialTokenIds: new Set([EOS]),
  tokenBytes: (id: number) => (id < 256 ? Uint8Array.of(id) : new Uint8Array(0)),
};
export const service = new GrammarService({
  open: openGrammarThread,
  tokenizer: bytes,
  vocabSize: VOCAB,
  eosTokenIds: [EOS],
});

export const spec = (constraint: StructuredOutputs) => checkStructuredOutputs(constraint)!;

/** Whether a text is in the grammar: each byte allowed, then the end. */
export async function accepts(constraint: StructuredOutputs, text: string): Promise<boolean> {
  const session = await service.start(spec(constraint));
  try {
    for (const byte of [...new TextEncoder().encode(text), EOS]) {
      if (((session.mask![byte >>> 5]! >>> (byte & 31)) & 1) === 0) return false;
      if (byte !== EOS) await session.accept(byte);
    }
    return true;
  } finally {
    session.close();
  }
}

/** A random text of the grammar, or null when it does not end in time. Ends where it may with a growing likelihood. */
export async function walk(constraint: StructuredOutputs, random: () => number, most = 400): Promise<string | null> {
  const session = await service.start(spec(constraint));
  const taken: number[] = [];
  try {
    while (taken.length < most) {
      const allowed = Array.from({ length: 257 }, (_, id) => id).filter(
        id => ((session.mask![id >>> 5]! >>> (id & 31)) & 1) === 1,
      );
      expect(allowed.length).toBeGreaterThan(0);
      const closing = allowed.filter(id => id === EOS || '"]}'.includes(String.fromCharCode(id)));
      const from = closing.length > 0 && random() < Math.min(0.7, taken.length / 60) ? closing : allowed;
      const next = from[Math.floor(random() * from.length)]!;
      if (next === EOS) return new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(taken));
      taken.push(next);
      await session.accept(next);
    }
    return null;
  } finally {
    session.close();
  }
}

export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

export async function refusal(constraint: StructuredOutputs): Promise<string> {
  try {
    await service.prepare(spec(constraint));
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidRequestError);
    expect((error as InvalidRequestError).param).toBe('structured_outputs');
    return (error as Error).message;
  }
  throw new Error(`${JSON.stringify(constraint)} was accepted`);
}
