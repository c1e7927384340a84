import { Worker } from 'node:worker_threads';
import type { GrammarPort } from '@quire/core';

/** Node runs compiled files only, also when this one is run from its source. */
const entry = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/node/grammar-worker.js' : './grammar-worker.js',
  import.meta.url,
);

/** Starts a thread that compiles and matches grammars. It ends with `close`. */
export function openGrammarThread(): GrammarPort {
  // Without the flags of this process: conditions that choose sources would reach the worker too.
  const worker = new Worker(entry, { name: 'grammars', execArgv: [] });
  return {
    post: question => worker.postMessage(question),
    listen(onAnswer, onGone) {
      worker.on('message', onAnswer);
      worker.on('error', error => onGone(`it failed: ${(error as Error).message}`));
      worker.on('exit', code => onGone(`it ended with code ${code}`));
    },
    async close() {
      await worker.terminate();
    },
  };
}
