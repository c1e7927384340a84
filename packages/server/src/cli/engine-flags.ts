import { type EngineOptions, toCamelCase } from '@quire/core';
import type { FlagSpecs, FlagValues } from './flags.ts';

export const deviceFlag = {
  device: {
    type: 'string',
    value: 'DEVICE',
    help: 'auto, cuda, cuda-emu, webgpu or reference. auto takes CUDA, then a GPU through WebGPU, then the fastest device in software. Default auto.',
    env: 'QUIRE_DEVICE',
  },
} as const satisfies FlagSpecs;

/** Options of the engine under vLLM's names. Every option of core has its flag; a test holds them together. */
export const engineFlags = {
  'max-model-len': {
    type: 'integer',
    value: 'N',
    help: 'Longest sequence in tokens, prompt and output together. Default: what the model and the cache allow.',
  },
  'max-num-seqs': { type: 'integer', value: 'N', help: 'Requests that run at once. Default 256.' },
  'max-num-batched-tokens': { type: 'integer', value: 'N', help: 'Tokens computed in one step. Default 2048.' },
  'block-size': { type: 'integer', value: 'N', help: 'Tokens per KV cache block. Default 16.' },
  'kv-cache-memory-bytes': {
    type: 'integer',
    value: 'N',
    help: 'Bytes of the KV cache, instead of a size derived from the device.',
  },
  'gpu-memory-utilization': {
    type: 'number',
    value: 'SHARE',
    help: "Share of the device's memory for weights and KV cache, where the device tells its memory. Default 0.9.",
  },
  'num-gpu-blocks-override': {
    type: 'integer',
    value: 'N',
    help: 'KV cache blocks, instead of a number derived from bytes.',
  },
  'kv-cache-dtype': {
    type: 'string',
    value: 'DTYPE',
    help: 'auto (that of the activations), float32, float16 or bfloat16. Default auto.',
  },
  dtype: {
    type: 'string',
    value: 'DTYPE',
    help: "Weights and activations: auto (the checkpoint's), float32, float16 or bfloat16. Activations are float32 all the same where the device does not compute in that dtype, and with auto in software. Default auto.",
  },
  'enable-prefix-caching': {
    type: 'boolean',
    help: 'Reuse the KV blocks of shared prefixes. Default on; --no-enable-prefix-caching turns it off.',
  },
  'enable-chunked-prefill': {
    type: 'boolean',
    help: 'Split long prompts over steps. Default on; --no-enable-chunked-prefill turns it off.',
  },
  seed: { type: 'integer', value: 'N', help: 'Base of the seeds of requests that set none. Default 0.' },
  tokenizer: { type: 'string', value: 'FOLDER', help: "Folder of the tokenizer, when it is not the model's." },
  'skip-tokenizer-init': {
    type: 'boolean',
    help: 'Load no tokenizer: prompts are token ids, and outputs have no text. Not for serve.',
  },
  'max-logprobs': {
    type: 'integer',
    value: 'N',
    help: 'Most log-probabilities per token that a request may ask for. Default 20.',
  },
  'run-ahead': { type: 'integer', value: 'N', help: 'Steps in flight while the next is scheduled. Default 2.' },
  'num-scheduler-steps': {
    type: 'integer',
    value: 'N',
    help: 'Most decode steps in one submit to the device. Default 4.',
  },
  'load-format': {
    type: 'string',
    value: 'FORMAT',
    help: 'auto, or dummy: seeded stand-ins instead of weights, to measure without a checkpoint. Default auto.',
  },
} as const satisfies FlagSpecs;

/** The engine options among the flags of a command. */
export function engineOptions(flags: FlagValues<typeof engineFlags>): EngineOptions {
  const given = Object.keys(engineFlags).filter(name => Object.hasOwn(flags, name)) as (keyof typeof engineFlags)[];
  return Object.fromEntries(given.map(name => [toCamelCase(name.replaceAll('-', '_')), flags[name]]));
}
