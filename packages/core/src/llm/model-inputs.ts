import type { Device } from '../contract/contract.ts';
import type { EngineConfig } from '../engine/engine-config.ts';
import { ConfigError } from '../errors.ts';
import type { GrammarPort } from '../structured-output/grammar-messages.ts';
import type { CheckpointFormat } from '../weights/checkpoint.ts';
import type { ModelSource, WeightCache } from '../weights/types.ts';

/** What a device must be told when it is opened. */
export type DeviceOptions = Pick<
  EngineConfig,
  'tensorParallelSize' | 'pipelineParallelSize' | 'enforceEager' | 'batchInvariant'
>;

/** What is opened of a model. */
export interface SourceOptions extends Partial<Pick<EngineConfig, 'revision' | 'downloadDir'>> {
  /** Weights that will be read: of the best format that there is (the default), of one alone, or none. */
  readonly weights?: 'any' | CheckpointFormat | 'none';
}

/** How names become things on this platform. Node and browser entries bring their own. */
export interface LLMRuntime {
  /** Throws ConfigError for an unknown device, one that cannot be opened here, and options that it cannot honour. */
  openDevice(name: string, options: DeviceOptions): Promise<Device>;
  openSource(location: string, options: SourceOptions): Promise<ModelSource>;
  /** Starts a thread that runs a GrammarServer; without it, structured outputs are refused. */
  readonly openGrammarThread?: () => GrammarPort;
  /** Opens the folder of an adapter. Absent where there are none. */
  openAdapter?(folder: string): Promise<ModelSource>;
  /** Memory of this machine in bytes. Absent where it is not told. */
  readonly hostMemoryBytes?: number;
  /** The text of a file. Absent where there are none. */
  readText?(file: string): Promise<string>;
  /** Where converted weights of a model are kept. Absent where nothing can be kept. */
  openWeightCache?(source: ModelSource, folder: string | null): WeightCache;
}

/** What an engine is loaded from besides its device. */
export interface ModelInputs {
  readonly source: ModelSource;
  /** The draft model of `speculativeConfig`. */
  readonly draftSource?: ModelSource;
  /** Where the tokenizer's files are when they are not beside the model's. */
  readonly tokenizerSource?: ModelSource;
  /** Where generation_config.json is when it is not beside the model's. */
  readonly generationConfigSource?: ModelSource;
  /** Instead of the model's chat template. */
  readonly chatTemplate?: string;
  /** For loadFormat npcache. */
  readonly weightCache?: WeightCache;
  /** Starts a thread that matches grammars, for structured outputs. */
  readonly openGrammarThread?: () => GrammarPort;
  /** Opens the folder of an adapter; without it, adapters must be open sources. */
  readonly openAdapter?: (folder: string) => Promise<ModelSource>;
}

/** Opens what a configuration names. `opened` is told of all that is opened, so that it can be closed. */
export async function openModelInputs(
  config: EngineConfig,
  model: string | ModelSource,
  runtime: LLMRuntime,
  opened: (resource: { close(): Promise<void> }) => void,
): Promise<ModelInputs> {
  const { tokenizer, generationConfig, chatTemplate, downloadDir, revision } = config;
  checkHostMemory(config, runtime.hostMemoryBytes);
  const keep = <T extends { close(): Promise<void> }>(resource: T): T => {
    opened(resource);
    return resource;
  };
  const open = async (location: string, options: SourceOptions) =>
    keep(await runtime.openSource(location, { downloadDir, ...options }));
  if (typeof model !== 'string' && revision !== null) {
    throw new ConfigError(
      'revision chooses among those of a model in a cache, but the model is an open source.',
      'revision',
    );
  }
  const source = typeof model === 'string' ? await open(model, { revision, weights: wantedWeights(config) }) : model;
  const { openGrammarThread, openAdapter } = runtime;
  const speculation = config.speculativeConfig;
  const draft = speculation?.method === 'draft_model' ? speculation : null;
  const isNamed = generationConfig !== 'auto' && generationConfig !== 'vllm';
  return {
    source,
    ...(draft === null
      ? {}
      : { draftSource: await open(draft.model, { revision: draft.revision, weights: wantedWeights(config) }) }),
    ...(tokenizer === null ? {} : { tokenizerSource: await open(tokenizer, { weights: 'none' }) }),
    ...(isNamed ? { generationConfigSource: await open(generationConfig, { weights: 'none' }) } : {}),
    ...(chatTemplate === null ? {} : { chatTemplate: await templateText(chatTemplate, runtime) }),
    ...(openGrammarThread === undefined ? {} : { openGrammarThread }),
    ...(openAdapter === undefined ? {} : { openAdapter }),
    ...(config.loadFormat === 'npcache' ? { weightCache: keep(openCache(source, downloadDir, runtime)) } : {}),
  };
}

/** What of a model's weights an engine with this configuration reads. */
export function wantedWeights({ loadFormat }: EngineConfig): NonNullable<SourceOptions['weights']> {
  if (loadFormat === 'dummy') return 'none';
  return loadFormat === 'safetensors' || loadFormat === 'pt' ? loadFormat : 'any';
}

/** vLLM's bound. */
const MAX_SHARE_OF_HOST = 0.7;

function checkHostMemory(
  { swapSpace, tensorParallelSize, pipelineParallelSize }: EngineConfig,
  hostMemoryBytes = Number.POSITIVE_INFINITY,
): void {
  const devices = tensorParallelSize * pipelineParallelSize;
  const wanted = swapSpace * 2 ** 30 * devices;
  if (wanted <= hostMemoryBytes * MAX_SHARE_OF_HOST) return;
  const most = Math.floor((hostMemoryBytes * MAX_SHARE_OF_HOST) / devices / 2 ** 30);
  throw new ConfigError(
    `swapSpace is ${swapSpace} GiB on each of ${devices} ranks, more than 70 % of this machine's memory. Set it to at most ${most}.`,
    'swapSpace',
  );
}

/** A template says something only with braces, and no file that is meant has them in its name. */
async function templateText(template: string, runtime: LLMRuntime): Promise<string> {
  if (/[{}]/.test(template)) return template;
  if (runtime.readText !== undefined) return runtime.readText(template);
  throw new ConfigError(
    'chatTemplate names a file, and there are none here. Give the text of the template.',
    'chatTemplate',
  );
}

function openCache(source: ModelSource, folder: string | null, runtime: LLMRuntime): WeightCache {
  if (runtime.openWeightCache !== undefined) return runtime.openWeightCache(source, folder);
  throw new ConfigError('loadFormat npcache needs files to keep weights in, and there are none here.', 'loadFormat');
}
