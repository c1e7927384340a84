import type { AsyncLLM, EngineConfig, EngineObserver, EngineOptions, Tokenizer } from '@quire/core';
import type { AppLog } from '../app/context.ts';
import { EngineProcess } from '../engine-process/engine-process.ts';
import { traceJson } from '../engine-process/trace-frames.ts';
import { TraceGate } from '../engine-process/trace-gate.ts';
import { nodeRuntime } from '../node/llm.ts';
import type { OnTransfer } from '../node/transfer-progress.ts';
import { ranksEnded } from '../ranks/lead.ts';
import { needsTokenizer, openTokenizer } from '../tokenizer/open-tokenizer.ts';
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
  /** Told how much of the weights has been read. */
  readonly onLoading: OnTransfer;
  /** Told of steps while they are watched: a StepTrace as JSON. */
  readonly onTrace: (json: string) => void;
  /** The program of an engine process. Default: that of this package. */
  readonly entry?: URL;
}

/** An engine that a server serves, with its tokenizer. */
export interface Serving {
  readonly engine: AsyncLLM | EngineProcess;
  readonly tokenizer: Tokenizer;
  readonly description: EngineDescription;
  /** Resolves with the reason when the engine is gone for good. */
  readonly givenUp: Promise<Error>;
  watchSteps(isWatched: boolean): void;
  close(): Promise<void>;
}

/** Opens an engine in this process. Rejects as `openEngine` does, and with ConfigError when there is no tokenizer. */
export async function serveInProcess(options: EngineOptions, serving: ServingOptions): Promise<Serving> {
  const gate = new TraceGate(() => loaded.asyncLLM.stats());
  const observer: EngineObserver = {
    ...serving.observer,
    get wantsTrace() {
      return gate.isDue;
    },
    onTrace(trace) {
      gate.passed();
      serving.onTrace(traceJson(trace));
    },
  };
  const { loaded, description, close } = await openEngine(options, { ...serving, observer, runtime: nodeRuntime });
  const watchSteps = (isWatched: boolean) => {
    gate.isOpen = isWatched;
  };
  const { asyncLLM: engine, tokenizer } = loaded;
  if (tokenizer !== null) return { engine, tokenizer, description, givenUp: ranksEnded, watchSteps, close };
  await close();
  throw needsTokenizer();
}

/** Opens an engine in a process of its own, which is replaced when it ends; text is made of tokens here. Rejects as the other. */
export async function serveFromProcess(options: EngineOptions, serving: ServingOptions): Promise<Serving> {
  const tokenizer = openTokenizer(serving.config);
  const engine = await EngineProcess.open({ ...serving, options, tokenizer });
  const { description, givenUp } = engine;
  const watchSteps = (isWatched: boolean) => engine.watchSteps(isWatched);
  return { engine, tokenizer: await tokenizer, description, givenUp, watchSteps, close: () => engine.dispose() };
}
