import {
  type AsyncLLM,
  ConfigError,
  type EngineConfig,
  type EngineObserver,
  type EngineOptions,
  hasTokenizer,
  loadTokenizer,
  openModelInputs,
  type Tokenizer,
} from '@quire/core';
import type { AppLog } from '../app/context.ts';
import { EngineProcess } from '../engine-process/engine-process.ts';
import { nodeRuntime } from '../node/llm.ts';
import { Cleanup } from './cleanup.ts';
import { type EngineDescription, openEngine } from './open-engine.ts';

export interface ServingOptions {
  /** What the options say, checked. */
  readonly config: EngineConfig;
  /** As `--device`. */
  readonly device: string;
  readonly observer: EngineObserver;
  readonly log: AppLog;
  /** Told of each stage of the start that is done. */
  readonly onStage: (name: string, ms: number) => void;
}

/** An engine that a server serves, with its tokenizer. */
export interface Serving {
  readonly engine: AsyncLLM | EngineProcess;
  readonly tokenizer: Tokenizer;
  readonly description: EngineDescription;
  close(): Promise<void>;
}

/** Opens an engine in this process. Rejects as `openEngine` does, and with ConfigError when there is no tokenizer. */
export async function serveInProcess(options: EngineOptions, serving: ServingOptions): Promise<Serving> {
  const { loaded, description, close } = await openEngine(options, { ...serving, runtime: nodeRuntime });
  const { asyncLLM: engine, tokenizer } = loaded;
  if (tokenizer !== null) return { engine, tokenizer, description, close };
  await close();
  throw needsTokenizer();
}

/** Opens an engine in a process of its own, which is replaced when it ends; text is made of tokens here. Rejects as the other. */
export async function serveFromProcess(options: EngineOptions, serving: ServingOptions): Promise<Serving> {
  const tokenizer = openTokenizer(serving.config);
  const engine = await EngineProcess.open({ ...serving, options, tokenizer });
  const { description } = engine;
  return { engine, tokenizer: await tokenizer, description, close: () => engine.dispose() };
}

async function openTokenizer(config: EngineConfig): Promise<Tokenizer> {
  if (config.skipTokenizerInit) throw needsTokenizer();
  const opened = new Cleanup();
  try {
    // Weights, and what is kept of them, are the engine's.
    const inputs = await openModelInputs({ ...config, loadFormat: 'auto' }, config.model, nodeRuntime, source =>
      opened.with(source, s => s.close()),
    );
    const { source, tokenizerSource = source, chatTemplate } = inputs;
    if (!(await hasTokenizer(tokenizerSource))) throw needsTokenizer();
    return await loadTokenizer(tokenizerSource, chatTemplate);
  } finally {
    await opened.run();
  }
}

function needsTokenizer(): ConfigError {
  return new ConfigError(
    'The server answers with text and needs a tokenizer: name a folder that has one.',
    'tokenizer',
  );
}
