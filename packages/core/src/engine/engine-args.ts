import {
  among,
  automatic,
  boolean,
  type Check,
  fraction,
  integer,
  names,
  notNegative,
  oneOf,
  only,
  orNull,
  quantity,
  seed,
  share,
  text,
} from './arg-checks.ts';
import { kvEventsConfig } from './kv-events-config.ts';
import { poolerConfig } from './pooler-config.ts';
import { speculativeConfig } from './speculative-config.ts';

/** How a command line takes an argument. `quantity` may have a unit, such as 32k; `json` is a JSON object. */
export type ArgType = 'string' | 'integer' | 'number' | 'boolean' | 'names' | 'quantity' | 'json';

/** One argument of the engine, as documentation, help and checks need it. */
export interface EngineArg<T = unknown> {
  readonly default: T;
  readonly check: Check<T>;
  readonly type: ArgType;
  /** Stands for the value in help: `--max-num-seqs N`. */
  readonly value?: string;
  readonly effect: string;
  /** Where it cannot be honoured, which is an error that says so. */
  readonly refused?: string;
}

const DTYPES = {
  auto: 'auto',
  f32: 'f32',
  float: 'f32',
  float32: 'f32',
  f16: 'f16',
  half: 'f16',
  float16: 'f16',
  bf16: 'bf16',
  bfloat16: 'bf16',
} as const;

/** q8 under vLLM's name too; q4 has groups of 32 columns, and z a zero point for each. Then what a checkpoint may be already. */
const QUANTIZATIONS = {
  q8: 'q8',
  int8: 'q8',
  int8_per_channel_weight_only: 'q8',
  q4: 'q4_32',
  q4_32: 'q4_32',
  q4_128: 'q4_128',
  q4_32z: 'q4_32z',
  q4_128z: 'q4_128z',
  gptq: 'gptq',
  gptq_marlin: 'gptq',
  awq: 'awq',
  awq_marlin: 'awq',
  'compressed-tensors': 'compressed-tensors',
  fp8: 'fp8',
} as const;

/**
 * Every argument of the engine under vLLM's name in camelCase. The order is that of the documentation: the model, its numbers, its
 * memory, the schedule, devices, the rest.
 */
export const engineArgs = {
  model: {
    default: '',
    check: text,
    type: 'string',
    value: 'MODEL',
    effect: 'Folder of the model, or its name on Hugging Face: taken from the cache, or downloaded there.',
    refused: 'A name that neither the cache nor the hub has, or, with HF_HUB_OFFLINE, that the cache lacks.',
  },
  tokenizer: {
    default: null,
    check: orNull(text),
    type: 'string',
    value: 'FOLDER',
    effect: "Folder or name of the tokenizer, when it is not the model's.",
  },
  tokenizerMode: {
    default: 'auto',
    check: oneOf({ auto: 'auto', hf: 'auto', slow: 'auto' }),
    type: 'string',
    value: 'MODE',
    effect: 'auto, hf or slow: all three are the one implementation that there is.',
    refused: 'Other modes of vLLM (mistral, custom classes).',
  },
  skipTokenizerInit: {
    default: false,
    check: boolean,
    type: 'boolean',
    effect: 'Load no tokenizer: prompts are token ids, and outputs have no text.',
    refused: 'By serve, which needs texts.',
  },
  trustRemoteCode: {
    default: false,
    check: only([false], false, 'code from a model folder is never run'),
    type: 'boolean',
    effect: 'Only false: code from a model folder is never run.',
    refused: 'Everywhere.',
  },
  revision: {
    default: null,
    check: orNull(text),
    type: 'string',
    value: 'REVISION',
    effect: 'Branch, tag or commit of a model named as on Hugging Face. Default: main.',
    refused: 'For a plain folder, which has no revisions, and for a revision that there is not.',
  },
  downloadDir: {
    default: null,
    check: orNull(text),
    type: 'string',
    value: 'FOLDER',
    effect:
      'Where models of a Hugging Face cache are looked up and downloaded to, and repacked weights are kept. Default: the caches of this user.',
  },
  loadFormat: {
    default: 'auto',
    check: oneOf({ auto: 'auto', safetensors: 'safetensors', pt: 'pt', dummy: 'dummy', npcache: 'npcache' }),
    type: 'string',
    value: 'FORMAT',
    effect:
      'auto: safetensors, else pytorch_model.bin, as the folder has it. safetensors, pt: the one or the other alone. dummy: seeded stand-ins instead of weights; config.json alone will do, and without a tokenizer in the folder skip_tokenizer_init is implied. npcache: auto, with weights that must be rounded to 16 bits kept that way for the next start.',
    refused: 'npcache in a browser; a format that the folder lacks.',
  },
  useNpWeights: {
    default: null,
    check: orNull(boolean),
    type: 'boolean',
    effect: 'The old name of load_format npcache.',
  },
  useDummyWeights: {
    default: null,
    check: orNull(boolean),
    type: 'boolean',
    effect: 'The old name of load_format dummy.',
  },
  runner: {
    default: 'auto',
    check: oneOf({ auto: 'auto', generate: 'generate', pooling: 'pooling' }),
    type: 'string',
    value: 'RUNNER',
    effect:
      'What the model does: generate text, or pooling, which makes embeddings. auto: embeddings for a folder with modules.json of sentence-transformers or a decoder without a head, else text.',
    refused: 'generate for a model without a head.',
  },
  task: {
    default: null,
    check: orNull(oneOf({ auto: 'auto', generate: 'generate', embed: 'pooling', embedding: 'pooling' })),
    type: 'string',
    value: 'TASK',
    effect: 'The old name of runner: auto, generate, embed.',
    refused: 'classify, score and reward.',
  },
  poolerConfig: {
    default: null,
    check: orNull(poolerConfig),
    type: 'json',
    value: 'JSON',
    effect:
      'How embeddings are made, in place of what the model says: {"pooling_type": "LAST" or "MEAN", "normalize": true}. Implies runner pooling.',
    refused: 'Other types of pooling.',
  },
  generationConfig: {
    default: 'auto',
    check: text,
    type: 'string',
    value: 'SOURCE',
    effect:
      "Where defaults of sampling come from: auto (the model's generation_config.json), vllm (none, only those of the engine), or a folder with another generation_config.json.",
  },
  chatTemplate: {
    default: null,
    check: orNull(text),
    type: 'string',
    value: 'FILE|TEXT',
    effect: "Chat template instead of the model's: a file, or the template itself (recognised by its braces).",
    refused: 'A file in a browser; any with skip_tokenizer_init.',
  },
  servedModelName: {
    default: null,
    check: orNull(names),
    type: 'names',
    value: 'NAME,NAME',
    effect: 'Names that the model answers to; the first is shown. Default: the model as given.',
  },
  dtype: {
    default: 'auto',
    check: oneOf(DTYPES),
    type: 'string',
    value: 'DTYPE',
    effect:
      "Weights and activations: auto (the checkpoint's), float32, float16 (half) or bfloat16. Activations are float32 all the same where the device does not compute in that dtype, and with auto in software.",
  },
  quantization: {
    default: null,
    check: orNull(oneOf(QUANTIZATIONS)),
    type: 'string',
    value: 'METHOD',
    effect:
      'Quantise the matrices of linear layers while they load: q8 (int8, int8_per_channel_weight_only), q4 (groups of 32 columns), q4_128, q4_32z or q4_128z (with zero points). Embeddings, the head, norms and biases stay as they are. Checkpoints in gptq, awq, compressed-tensors and fp8 are known by their config.json; naming the method checks it.',
    refused:
      'Where columns are not whole groups, for weights that are not finite, and beside a checkpoint that is quantised in another way.',
  },
  quantMode: {
    default: null,
    check: orNull(oneOf(QUANTIZATIONS)),
    type: 'string',
    value: 'METHOD',
    effect: 'Another name of quantization.',
    refused: 'Beside another quantization.',
  },
  kvCacheDtype: {
    default: 'auto',
    check: oneOf({ ...DTYPES, int8: 'i8', fp8: 'f8e4m3', fp8_e4m3: 'f8e4m3' }),
    type: 'string',
    value: 'DTYPE',
    effect:
      'KV cache: auto (that of the activations), float32, float16, bfloat16, int8 or fp8 (fp8_e4m3), the last two with a scale for each vector of a head.',
    refused: 'Where the device does not offer it, such as bfloat16 in a browser.',
  },
  seed: {
    default: 0n,
    check: seed,
    type: 'integer',
    value: 'N',
    effect: 'Base of the seeds of requests that set none, and of stand-ins for weights.',
  },
  batchInvariant: {
    default: false,
    check: boolean,
    type: 'boolean',
    effect: 'Equal requests get bit-equal logits in any batch.',
    refused: 'On a device that cannot promise it.',
  },
  maxModelLen: {
    default: null,
    check: automatic(['auto', -1, '-1'], quantity(2, 2 ** 24)),
    type: 'quantity',
    value: 'N',
    effect:
      'Longest sequence in tokens, prompt and output together. auto or -1: the longest that the model knows and the KV cache holds.',
    refused: 'A number above what the model knows, or for which the KV cache has no room; the message says what fits.',
  },
  blockSize: {
    default: 16,
    check: integer(1, 1024),
    type: 'integer',
    value: 'N',
    effect: 'Tokens per block of the KV cache. Every device takes every size; powers of two are fastest on GPUs.',
  },
  gpuMemoryUtilization: {
    default: 0.9,
    check: share,
    type: 'number',
    value: 'SHARE',
    effect:
      'Share of the memory of a device that tells how much it has, for weights and KV cache together. The cache of the others is sized from its requests and a cap.',
  },
  kvCacheMemoryBytes: {
    default: null,
    check: orNull(quantity(1, 2 ** 50)),
    type: 'quantity',
    value: 'N',
    effect: 'Bytes of the KV cache on each rank, instead of a size derived from the device.',
  },
  numGpuBlocksOverride: {
    default: null,
    check: orNull(integer(1, 2 ** 30)),
    type: 'integer',
    value: 'N',
    effect: 'Blocks of the KV cache, instead of a number derived from bytes. The null block is not counted.',
  },
  swapSpace: {
    default: 0,
    check: notNegative,
    type: 'number',
    value: 'GIB',
    effect:
      'GiB of host memory on each rank for blocks of the prefix cache that leave the device, and of preempted requests: they come back instead of being computed again. 0: none.',
    refused:
      'On a device that cannot move blocks, without prefix caching, and above 70 % of the memory of this machine.',
  },
  enablePrefixCaching: {
    default: true,
    check: boolean,
    type: 'boolean',
    effect: 'Reuse the KV blocks of shared prefixes.',
  },
  maxNumSeqs: {
    default: 256,
    check: integer(1, 65_536),
    type: 'integer',
    value: 'N',
    effect: 'Requests that run at once.',
  },
  maxNumBatchedTokens: {
    default: 2048,
    check: quantity(1, 2 ** 24),
    type: 'quantity',
    value: 'N',
    effect: 'Tokens computed in one step, over all requests.',
  },
  enableChunkedPrefill: {
    default: true,
    check: boolean,
    type: 'boolean',
    effect: 'Split long prompts over steps.',
    refused: 'false with max_num_batched_tokens below max_model_len.',
  },
  longPrefillTokenThreshold: {
    default: 0,
    check: quantity(0, 2 ** 24),
    type: 'quantity',
    value: 'N',
    effect: 'Most tokens of one prompt in one step, so that others have room beside it. 0: no bound of its own.',
    refused: 'Without chunked prefill.',
  },
  schedulingPolicy: {
    default: 'fcfs',
    check: oneOf({ fcfs: 'fcfs', priority: 'priority' }),
    type: 'string',
    value: 'POLICY',
    effect: 'fcfs: in order of arrival. priority: by the priority of requests, lower first, with ageing.',
  },
  watermark: {
    default: 0,
    check: fraction,
    type: 'number',
    value: 'SHARE',
    effect: 'Share of the KV blocks that a newly admitted request leaves free while others run.',
  },
  maxNumQueuedReqs: {
    default: null,
    check: orNull(integer(1, 2 ** 30)),
    type: 'integer',
    value: 'N',
    effect:
      'Requests that may wait before others are refused (HTTP 429). Default: no bound in the library, 256 in serve.',
  },
  maxNumQueuedTokens: {
    default: null,
    check: orNull(quantity(1, 2 ** 40)),
    type: 'quantity',
    value: 'N',
    effect: 'Prompt tokens that may wait before further requests are refused (HTTP 429). Default: no bound.',
  },
  asyncScheduling: {
    default: true,
    check: boolean,
    type: 'boolean',
    effect:
      'Schedule the next step before the tokens of the last are known. false: run_ahead 1 and num_scheduler_steps 1. Outputs are the same.',
  },
  runAhead: {
    default: 2,
    check: integer(1, 64),
    type: 'integer',
    value: 'N',
    effect: 'Submits in flight while the next is scheduled.',
    refused: 'Above 1 without async_scheduling.',
  },
  numSchedulerSteps: {
    default: 4,
    check: integer(1, 64),
    type: 'integer',
    value: 'N',
    effect: 'Most decode steps in one submit to the device, when nothing needs the host between them.',
    refused: 'Above 1 without async_scheduling.',
  },
  maxLogprobs: {
    default: 20,
    check: integer(-1, 2 ** 24),
    type: 'integer',
    value: 'N',
    effect: 'Most log-probabilities per token that a request may ask for. -1: as many as the vocabulary has.',
  },
  tensorParallelSize: {
    default: 1,
    check: integer(1, 64),
    type: 'integer',
    value: 'N',
    effect: 'Ranks that divide the weights, the heads and the KV cache of the model among themselves.',
    refused:
      'Above 1 on devices that do not work in groups or are too few, and where neither KV heads divide among ranks nor ranks among KV heads.',
  },
  pipelineParallelSize: {
    default: 1,
    check: integer(1, 64),
    type: 'integer',
    value: 'N',
    effect:
      'Stages that divide the layers of the model among themselves, each of tensor_parallel_size ranks. Saves memory, and no time: one step is under way in all of them.',
    refused: 'Above 1 on devices that do not work in groups or are too few, and above the number of layers.',
  },
  distributedExecutorBackend: {
    default: null,
    check: among(
      [null, 'uni', 'external_launcher'],
      'ranks are threads of one process, or processes that a launcher has started. Leave it out, and start several with torchrun, srun, mpirun or a LeaderWorkerSet',
    ),
    type: 'string',
    value: 'BACKEND',
    effect:
      'uni: ranks are threads of one process; external_launcher: they are processes that torchrun, srun, mpirun or a LeaderWorkerSet has started, one per rank; null: the second where a launcher has started several, else the first.',
    refused: 'mp and ray.',
  },
  workerUseRay: {
    default: false,
    check: only([false], false, 'Ray is not used: ranks are threads in one process on one machine'),
    type: 'boolean',
    effect: 'Only false: Ray is not used.',
    refused: 'Everywhere.',
  },
  enableLora: {
    default: false,
    check: boolean,
    type: 'boolean',
    effect: 'Make room for LoRA adapters, which requests name instead of the model: see docs/lora.md.',
    refused: 'On devices without the op.',
  },
  maxLoras: {
    default: 1,
    check: integer(1, 256),
    type: 'integer',
    value: 'N',
    effect: 'Adapters on the device at once: the most that one batch can have.',
    refused: 'Where all of them are above what the device binds at once.',
  },
  maxLoraRank: {
    default: 16,
    check: integer(1, 512),
    type: 'integer',
    value: 'N',
    effect: 'Largest rank of an adapter; each takes as much room on the device as one of it.',
    refused: 'As max_loras.',
  },
  maxCpuLoras: {
    default: null,
    check: orNull(integer(1, 2 ** 20)),
    type: 'integer',
    value: 'N',
    effect: 'Adapters that may be loaded at once: they are kept in host memory. Default: no bound.',
    refused: 'Below max_loras.',
  },
  enforceEager: {
    default: false,
    check: boolean,
    type: 'boolean',
    effect: 'Submit every step op by op, without captured graphs on the devices that have them.',
    refused: 'With a device that was opened before with graphs.',
  },
  lazyGraphs: {
    default: null,
    check: orNull(boolean),
    type: 'boolean',
    effect:
      'Capture the graphs of decode, and time the ways to compute a product, when a batch first needs them, and not before the server is ready. Without it their memory is counted before the KV cache is sized. Default: true on devices in software, else false.',
  },
  speculativeConfig: {
    default: null,
    check: orNull(speculativeConfig),
    type: 'json',
    value: 'JSON',
    effect:
      'Speculative decoding. By prompt lookup: {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 5, "prompt_lookup_min": 5}. With a smaller model of the same vocabulary, on the same device: {"method": "draft_model", "model": "FOLDER", "num_speculative_tokens": 4, "revision": null, "draft_tensor_parallel_size": null}. Outputs are those of plain decoding.',
    refused:
      'Methods other than ngram and draft_model. A draft model of another vocabulary or tokenizer, on other ranks than the model, or on ranks that are processes of their own.',
  },
  kvEventsConfig: {
    default: null,
    check: orNull(kvEventsConfig),
    type: 'json',
    value: 'JSON',
    effect:
      'serve publishes what the prefix cache holds over ZeroMQ, as vLLM does: {"enable_kv_cache_events": true, "endpoint": "tcp://*:5557", "topic": "kv@pod@model"}.',
    refused: 'Where the packages zeromq and @msgpack/msgpack are not installed.',
  },
  disableLogStats: {
    default: false,
    check: boolean,
    type: 'boolean',
    effect: 'serve logs no line of throughput, requests and cache use every ten seconds.',
  },
} as const satisfies Readonly<Record<string, EngineArg>>;

export type EngineArgName = keyof typeof engineArgs;

/** Names of all arguments of the engine, in camelCase. */
export const engineOptionNames = Object.keys(engineArgs) as readonly EngineArgName[];
