import {
  type AsyncLLM,
  type EngineConfig,
  type LoadedEngine,
  loadEngine,
  type ModelSource,
  parseEngineConfig,
  type RequestOutput,
  type SamplingParams,
} from '@quire/core';
import type { App } from '@quire/server/app';
import type { EngineInfo, EngineSettings, FromEngine, ModelChoice, OnProgress, Prompt } from './messages.ts';
import { openSource } from './model-source.ts';
import { type OpenedDevice, openDevice } from './open-device.ts';
import { Pacer } from './pacer.ts';
import { checkRoom, machineBytes } from './room.ts';

type Tell = (message: FromEngine) => void;

interface Parts {
  readonly source: ModelSource;
  /** In the order in which they were opened: each replaced the one before. */
  readonly devices: OpenedDevice[];
  readonly config: EngineConfig;
  readonly reopen: () => Promise<OpenedDevice>;
  readonly tell: Tell;
}

/** A model on a device, and the requests that run on it. */
export class EngineSession {
  readonly pacer: Pacer;
  readonly #engine: LoadedEngine;
  readonly #source: ModelSource;
  readonly #tell: Tell;
  readonly #devices: OpenedDevice[];
  readonly #aborts = new Map<string, AbortController>();
  #recoveries = 0;
  #app: Promise<App> | null = null;

  private constructor(parts: { engine: LoadedEngine; source: ModelSource; devices: OpenedDevice[]; tell: Tell }) {
    this.#engine = parts.engine;
    this.#source = parts.source;
    this.#devices = parts.devices;
    this.#tell = parts.tell;
    this.pacer = new Pacer(this.#llm);
  }

  /** Throws ConfigError, DeviceError and ModelFormatError, as `loadEngine` does. */
  static async open(model: ModelChoice, settings: EngineSettings, tell: Tell): Promise<EngineSession> {
    const start = performance.now();
    tell({ kind: 'loading', what: 'device', loaded: 0, total: null });
    const devices = [await openDevice(settings.device)];
    const { device } = devices[0]!;
    const config = engineConfig(model.kind === 'url' ? model.url : model.name, settings);
    const progress: OnProgress = (what, loaded, total) => tell({ kind: 'loading', what, loaded, total });
    let source: ModelSource | undefined;
    try {
      source = await openSource(model, progress, opened => checkRoom(opened, config, device, machineBytes()));
      progress('engine', 0, null);
      const reopen = () => openDevice(settings.device);
      const session = await EngineSession.#start({ source, devices, config, reopen, tell });
      tell({ kind: 'ready', info: session.#info(performance.now() - start) });
      return session;
    } catch (error) {
      await source?.close();
      for (const opened of devices) await opened.device.dispose();
      throw error;
    }
  }

  static async #start({ source, devices, config, reopen, tell }: Parts): Promise<EngineSession> {
    let session: EngineSession | null = null;
    const engine = await loadEngine({
      source,
      device: devices[0]!.device,
      reopenDevice: async () => {
        devices.push(await reopen());
        return devices.at(-1)!.device;
      },
      config,
      observer: {
        onTrace: trace => {
          tell({ kind: 'trace', trace });
          session?.stepped();
        },
      },
    });
    session = new EngineSession({ engine, source, devices, tell });
    return session;
  }

  get #llm(): AsyncLLM {
    return this.#engine.asyncLLM;
  }

  /** Runs a request to its end; what becomes of it is told. */
  async generate(id: string, prompt: Prompt, params: SamplingParams): Promise<void> {
    const abort = new AbortController();
    this.#aborts.set(id, abort);
    try {
      const options = { requestId: id, outputKind: 'delta', signal: abort.signal } as const;
      for await (const output of this.#llm.generate(this.#encode(prompt), params, options))
        this.#tellOutput(id, output);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#tell({ kind: 'refused', id, message });
      if (this.#llm.closed) this.#tell({ kind: 'failed', message: `The engine has ended: ${message}` });
    } finally {
      this.#aborts.delete(id);
    }
  }

  abort(id: string): void {
    this.#aborts.get(id)?.abort();
  }

  /** Forgets what finished requests left in the cache. */
  forget(): void {
    this.#llm.resetPrefixCache();
  }

  /** Takes the device away under the running engine, which opens another and computes everything again. */
  loseDevice(): void {
    this.#devices.at(-1)!.lose?.();
  }

  /** OpenAI's API over this engine; loaded when it is first asked for. */
  app(): Promise<App> {
    this.#app ??= import('@quire/server/app').then(({ createApp }) =>
      createApp({ engine: this.#llm, tokenizer: this.#engine.tokenizer! }, { modelNames: [this.#source.location] }),
    );
    return this.#app;
  }

  /** A step has been read. */
  stepped(): void {
    this.pacer.stepped();
    const { numRecoveries } = this.#llm.stats();
    if (numRecoveries === this.#recoveries) return;
    this.#recoveries = numRecoveries;
    this.#tell({ kind: 'recovered', recoveries: numRecoveries });
  }

  async dispose(): Promise<void> {
    await this.#llm.dispose();
    for (const { device } of this.#devices) await device.dispose();
    await this.#source.close();
  }

  #encode(prompt: Prompt): string | { prompt: string; promptTokenIds: number[] } {
    if ('text' in prompt) return prompt.text;
    const tokenizer = this.#engine.tokenizer!;
    const { messages } = prompt;
    if (!tokenizer.hasChatTemplate) return messages.map(({ content }) => content).join('\n');
    return { prompt: tokenizer.renderChat(messages), promptTokenIds: tokenizer.encodeChat(messages) };
  }

  #tellOutput(id: string, output: RequestOutput): void {
    const { arrival, firstToken } = output.metrics;
    this.#tell({
      kind: 'output',
      id,
      numPromptTokens: output.promptTokenIds.length,
      outputs: output.outputs.map(({ index, text, tokenIds, finishReason }) => {
        return { index, text, numTokens: tokenIds.length, finishReason };
      }),
      finished: output.finished,
      timeToFirstToken: firstToken === null ? null : firstToken - arrival,
      error: output.error?.message ?? null,
    });
  }

  #info(loadMilliseconds: number): EngineInfo {
    const { device, notice } = this.#devices[0]!;
    const { modelConfig, tokenizer } = this.#engine;
    const { maxModelLen, numBlocks, blockSize } = this.#llm.limits;
    return {
      model: this.#source.location,
      architecture: modelConfig.architecture,
      deviceKind: device.info.kind,
      deviceName: device.info.name,
      software: device.info.capabilities.software,
      deviceNotice: notice,
      maxModelLen,
      vocabSize: modelConfig.vocabSize,
      numBlocks,
      blockSize,
      hasChatTemplate: tokenizer?.hasChatTemplate ?? false,
      deviceBytes: device.allocatedBytes(),
      loadMilliseconds,
    };
  }
}

/** One step in flight and no repeats: the page shows every step. */
function engineConfig(model: string, { numBlocks, maxNumSeqs, maxNumBatchedTokens }: EngineSettings) {
  return parseEngineConfig({
    model,
    numGpuBlocksOverride: numBlocks,
    maxModelLen: -1,
    maxNumSeqs,
    maxNumBatchedTokens,
    runAhead: 1,
    numSchedulerSteps: 1,
  });
}
