import {
  type EngineConfig,
  type EngineObserver,
  type EngineOptions,
  type LLMRuntime,
  type LoadedEngine,
  loadEngine,
  openModelInputs,
  parseEngineConfig,
  type StageTimer,
  wantedWeights,
} from '@quire/core';
import type { Device } from '@quire/core/contract';
import { KvEventPublisher } from '../kv-events/publisher.ts';
import type { OnTransfer } from '../node/transfer-progress.ts';
import { watchWeights } from '../node/watched-weights.ts';
import { Cleanup } from './cleanup.ts';

export interface OpenEngineOptions {
  /** As `--device`. */
  device: string;
  runtime: LLMRuntime;
  observer?: EngineObserver;
  /** Told of each stage of the start that is done. */
  onStage?: (name: string, ms: number) => void;
  /** Told how much of the weights has been read. */
  onLoading?: OnTransfer;
}

/** What an operator is told of an engine. */
export interface EngineDescription {
  readonly device: Device['info'];
  readonly dtypes: { readonly weights: readonly string[]; readonly activations: string; readonly kvCache: string };
  readonly kvCache: { readonly tokens: number; readonly fullLengthRequests: number };
  /** Sentences on what the model folder says and is not done, and on what is odd in it. */
  readonly notices: readonly string[];
}

export interface OpenedEngine {
  readonly config: EngineConfig;
  readonly loaded: LoadedEngine;
  readonly description: EngineDescription;
  close(): Promise<void>;
}

/**
 * Opens a device and loads a model onto it, for a server. Rejects with ConfigError for wrong options and with ModelFormatError for a
 * broken model; nothing stays open then.
 */
export async function openEngine(
  options: EngineOptions,
  { device: deviceName, runtime, observer, onStage = () => {}, onLoading = () => {} }: OpenEngineOptions,
): Promise<OpenedEngine> {
  const config = parseEngineConfig(options);
  const cleanup = new Cleanup();
  const stage: StageTimer = async (name, run, detail) => {
    const started = performance.now();
    const result = await run();
    const ms = performance.now() - started;
    onStage(detail === undefined ? name : `${name} (${detail(result, ms)})`, ms);
    return result;
  };
  const openDevice = async () => cleanup.with(await runtime.openDevice(deviceName, config), d => d.dispose());
  try {
    const [device, inputs] = await Promise.all([
      stage('device', openDevice),
      openModelInputs(config, config.model, runtime, resource => cleanup.with(resource, r => r.close())),
    ]);
    // What comes in is bounded where it comes in, and counted there before it is looked at.
    const unbounded = { ...config, maxNumQueuedReqs: null };
    const { source, done } = await watchWeights(inputs.source, wantedWeights(config), onLoading);
    const events = await KvEventPublisher.open(config.kvEventsConfig);
    if (events !== null) cleanup.with(events, e => e.close());
    const told = { ...(observer ? { observer } : {}), ...(events ? { blockObserver: events.observer } : {}) };
    const own = { ...inputs, source, device, reopenDevice: openDevice, timeStage: stage };
    const load = { ...own, config: unbounded, ...told };
    const loaded = await stage('model', () => loadEngine(load));
    done();
    cleanup.with(loaded, l => l.asyncLLM.dispose());
    const { kvCache, dtypes } = loaded.runner;
    const { tokens, fullLengthRequests } = kvCache;
    const { notices } = loaded;
    const description = { device: device.info, dtypes, kvCache: { tokens, fullLengthRequests }, notices };
    return { config, loaded, description, close: () => cleanup.run() };
  } catch (error) {
    await cleanup.run();
    throw error;
  }
}
