/** A thread that tokenises long prompts, and renders long conversations. */
import { parentPort, workerData } from 'node:worker_threads';
import type { EngineConfig } from '@quire/core';
import { toErrorData } from '../engine-process/errors.ts';
import { openTokenizer } from './open-tokenizer.ts';
import type { TokenizerAnswer, TokenizerQuestion } from './tokenizer-messages.ts';

const parent = parentPort!;
const loading = openTokenizer(workerData as EngineConfig);
// Questions find out.
loading.catch(() => {});
let last = Promise.resolve();

parent.on('message', (question: TokenizerQuestion) => {
  last = last.then(() => answer(question));
});

async function answer(question: TokenizerQuestion): Promise<void> {
  try {
    const tokenizer = await loading;
    const { kind, args } = question;
    const ids = Uint32Array.from(kind === 'encode' ? tokenizer.encode(...args) : tokenizer.encodeChat(...args));
    parent.postMessage({ ids } satisfies TokenizerAnswer, [ids.buffer]);
  } catch (error) {
    parent.postMessage({ error: toErrorData(error) } satisfies TokenizerAnswer);
  }
}
