import { Worker } from 'node:worker_threads';
import { type EngineConfig, EngineError } from '@quire/core';
import { fromErrorData } from '../engine-process/errors.ts';
import { toNumbers } from '../engine-process/words.ts';
import type { TokenizerAnswer, TokenizerQuestion } from './tokenizer-messages.ts';

/** Node runs compiled files only, also when this one is run from its source. */
const entry = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/tokenizer/tokenizer-worker.js' : './tokenizer-worker.js',
  import.meta.url,
);

/** One thread with a tokenizer in it. It starts with the first question, and again when it has ended. */
export class TokenizerThread {
  readonly #config: EngineConfig;
  #worker: Worker | null = null;
  #asked: { resolve(ids: number[]): void; reject(error: Error): void }[] = [];

  constructor(config: EngineConfig) {
    this.#config = config;
  }

  /** Questions that it has not answered. */
  get numAsked(): number {
    return this.#asked.length;
  }

  /** Rejects with what the tokenizer throws, and with EngineError when the thread ends. */
  ask(question: TokenizerQuestion): Promise<number[]> {
    this.#worker ??= this.#start();
    this.#worker.postMessage(question);
    return new Promise((resolve, reject) => this.#asked.push({ resolve, reject }));
  }

  async dispose(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    // Without the flags of this process: conditions that choose sources would reach the worker too.
    const worker = new Worker(entry, { name: 'tokenizer', execArgv: [], workerData: this.#config });
    worker.unref();
    worker.on('message', (answer: TokenizerAnswer) => this.#answered(answer));
    worker.on('error', error => this.#gone(worker, (error as Error).message));
    worker.on('exit', code => this.#gone(worker, `it ended with code ${code}`));
    return worker;
  }

  #answered(answer: TokenizerAnswer): void {
    const asked = this.#asked.shift();
    if ('ids' in answer) asked?.resolve(toNumbers(answer.ids));
    else asked?.reject(fromErrorData(answer.error));
  }

  #gone(worker: Worker, reason: string): void {
    if (this.#worker !== worker) return;
    this.#worker = null;
    for (const { reject } of this.#asked.splice(0)) {
      reject(new EngineError(`The thread that tokenises long prompts failed: ${reason}.`));
    }
  }
}
