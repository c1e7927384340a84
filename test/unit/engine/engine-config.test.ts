import {
  ConfigError,
  type EngineArg,
  type EngineArgName,
  type EngineOptions,
  engineArgs,
  nearestName,
  parseEngineConfig,
} from '@quire/core';
import { expect, test } from 'vitest';

function refusal(options: Record<string, unknown>): ConfigError {
  try {
    parseEngineConfig(options);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error(`${JSON.stringify(options)} was accepted`);
}

test('defaults', () => {
  expect(parseEngineConfig({ model: 'm' })).toMatchObject({
    model: 'm',
    tokenizer: null,
    dtype: 'auto',
    seed: 0n,
    maxModelLen: null,
    blockSize: 16,
    maxNumSeqs: 256,
    maxNumBatchedTokens: 2048,
    kvCacheDtype: 'auto',
    kvCacheMemoryBytes: null,
    numGpuBlocksOverride: null,
    enablePrefixCaching: true,
    enableChunkedPrefill: true,
    maxLogprobs: 20,
    runAhead: 2,
    servedModelName: ['m'],
  });
});

test('vLLM spelling and dtype names are accepted', () => {
  const config = parseEngineConfig({
    max_num_seqs: 8,
    dtype: 'half',
    kv_cache_dtype: 'float16',
    served_model_name: ['a', 'b'],
  });
  expect(config).toMatchObject({ maxNumSeqs: 8, dtype: 'f16', kvCacheDtype: 'f16', servedModelName: ['a', 'b'] });
  expect(parseEngineConfig({ kvCacheDtype: 'bfloat16' }).kvCacheDtype).toBe('bf16');
  expect(parseEngineConfig({ servedModelName: 'x' }).servedModelName).toEqual(['x']);
  expect(parseEngineConfig({ seed: -1 }).seed).toBe(2n ** 64n - 1n);
});

test("an unknown option names the nearest known one, in the caller's spelling", () => {
  expect(refusal({ max_num_seq: 3 }).message).toBe('Unknown engine option "max_num_seq". Did you mean "max_num_seqs"?');
  expect(refusal({ maxNumSeq: 3 }).message).toContain('"maxNumSeqs"');
  expect(refusal({ tensorParallelSiz: 2 }).message).toContain('"tensorParallelSize"');
  expect(refusal({ blockSize: 8, block_size: 8 }).message).toContain('given twice');
});

test.each([
  ['maxNumSeqs', 0],
  ['maxNumSeqs', 1.5],
  ['maxNumSeqs', '8'],
  ['maxModelLen', 1],
  ['blockSize', 0],
  ['maxNumBatchedTokens', -1],
  ['dtype', 'int8'],
  ['dtype', 'constructor'],
  ['kvCacheDtype', 'fp8_e5m2'],
  ['kvCacheMemoryBytes', 0],
  ['numGpuBlocksOverride', -3],
  ['enablePrefixCaching', 1],
  ['enableChunkedPrefill', 'yes'],
  ['maxLogprobs', -2],
  ['runAhead', 0],
  ['numSchedulerSteps', 65],
  ['gpuMemoryUtilization', 1.1],
  ['seed', 0.5],
  ['model', ''],
  ['servedModelName', []],
  ['servedModelName', [1]],
  ['loadFormat', 'pickle'],
  ['tokenizerMode', 'mistral'],
  ['schedulingPolicy', 'lifo'],
  ['watermark', 1],
  ['swapSpace', -1],
  ['maxNumQueuedReqs', 0],
  ['maxNumQueuedTokens', '1x'],
  ['longPrefillTokenThreshold', -1],
  ['tensorParallelSize', 0],
  ['pipelineParallelSize', 0],
  ['enforceEager', 'no'],
  ['batchInvariant', 1],
  ['disableLogStats', 0],
  ['generationConfig', ''],
  ['chatTemplate', 3],
  ['revision', ''],
  ['downloadDir', 7],
  ['asyncScheduling', 'auto'],
  ['speculativeConfig', 'ngram'],
  ['quantization', 'bitsandbytes'],
  ['quantMode', 'gguf'],
])('%s = %o is refused by name', (option, value) => {
  const error = refusal({ [option]: value });
  expect(error.option).toBe(option);
  expect(error.message).toMatch(new RegExp(`^${option} must be`));
});

test.each([
  ['trustRemoteCode', true, 'code from a model folder is never run'],
  ['workerUseRay', true, 'Ray is not used'],
  ['distributedExecutorBackend', 'ray', 'ranks are threads of one process, or processes that a launcher'],
  ['distributedExecutorBackend', 'mp', 'ranks are threads of one process, or processes that a launcher'],
])('%s = %o cannot be honoured anywhere, and the error says why', (option, value, reason) => {
  const error = refusal({ [option]: value });
  expect(error.option).toBe(option);
  expect(error.message).toContain(`${option} cannot be ${typeof value === 'string' ? `"${value}"` : value}: ${reason}`);
});

test('ranks are threads or processes, or as a launcher has it', () => {
  for (const backend of [null, 'uni', 'external_launcher']) {
    const config = parseEngineConfig({ model: 'm', distributed_executor_backend: backend });
    expect(config.distributedExecutorBackend).toBe(backend);
  }
});

test('quantization has an old name and those of its formats', () => {
  expect(parseEngineConfig({ model: 'm' }).quantization).toBeNull();
  expect(parseEngineConfig({ model: 'm', quantization: 'int8_per_channel_weight_only' }).quantization).toBe('q8');
  expect(parseEngineConfig({ model: 'm', quant_mode: 'q4' }).quantization).toBe('q4_32');
  expect(parseEngineConfig({ model: 'm', quantization: 'q4_128z', quantMode: 'q4_128z' }).quantization).toBe('q4_128z');
  expect(parseEngineConfig({ model: 'm', quantization: 'awq_marlin' }).quantization).toBe('awq');
  expect(refusal({ quantization: 'q8', quantMode: 'q4' }).message).toContain('another name of quantization');
});

test('values that ask for nothing are accepted', () => {
  const nothing = {
    trust_remote_code: false,
    quantization: null,
    quant_mode: null,
    pipeline_parallel_size: 1,
    worker_use_ray: false,
    distributed_executor_backend: null,
    use_np_weights: false,
    use_dummy_weights: false,
    tokenizer_mode: 'slow',
    speculative_config: null,
  };
  const { model: _, ...defaults } = parseEngineConfig({ model: 'm' });
  expect(parseEngineConfig({ model: 'm', ...nothing })).toMatchObject({
    ...defaults,
    tokenizerMode: 'auto',
    useNpWeights: false,
    useDummyWeights: false,
  });
});

test('old names of load formats', () => {
  expect(parseEngineConfig({ useNpWeights: true }).loadFormat).toBe('npcache');
  expect(parseEngineConfig({ use_dummy_weights: true, load_format: 'dummy' }).loadFormat).toBe('dummy');
  expect(refusal({ useDummyWeights: true, loadFormat: 'npcache' }).message).toBe(
    'useDummyWeights means loadFormat "dummy", but loadFormat says "npcache".',
  );
  expect(refusal({ useDummyWeights: true, useNpWeights: true }).option).toBe('useDummyWeights');
});

test('quantities are written as vLLM writes them', () => {
  const lengthOf = (maxModelLen: unknown) => parseEngineConfig({ maxModelLen }).maxModelLen;
  expect([lengthOf('32k'), lengthOf('32K'), lengthOf('1.5k'), lengthOf('4096')]).toEqual([32_000, 32_768, 1500, 4096]);
  expect([lengthOf('auto'), lengthOf(-1), lengthOf('-1'), lengthOf(null)]).toEqual([null, null, null, null]);
  expect(parseEngineConfig({ kvCacheMemoryBytes: '1.5G' }).kvCacheMemoryBytes).toBe(1.5 * 2 ** 30);
  expect(parseEngineConfig({ maxNumBatchedTokens: '8k' }).maxNumBatchedTokens).toBe(8000);
  for (const wrong of ['0.0001k', '12q', 'k', '', '1e5', '-2'])
    expect(refusal({ maxModelLen: wrong }).option).toBe('maxModelLen');
});

test('without asynchronous scheduling every step waits for the one before', () => {
  expect(parseEngineConfig({ asyncScheduling: false })).toMatchObject({ runAhead: 1, numSchedulerSteps: 1 });
  expect(parseEngineConfig({ asyncScheduling: true, runAhead: 3 })).toMatchObject({
    runAhead: 3,
    numSchedulerSteps: 4,
  });
  expect(refusal({ asyncScheduling: false, runAhead: 2 }).message).toBe(
    'runAhead must be 1 or absent, because asyncScheduling is false.',
  );
});

test('a bound on chunks needs chunks', () => {
  expect(refusal({ longPrefillTokenThreshold: 8, enableChunkedPrefill: false }).message).toContain(
    'enableChunkedPrefill is false',
  );
});

test('speculative decoding takes the object of vLLM', () => {
  const parse = (speculative_config: object) => parseEngineConfig({ speculative_config }).speculativeConfig;
  expect(parse({ method: 'ngram', num_speculative_tokens: 4 })).toEqual({
    method: 'ngram',
    numSpeculativeTokens: 4,
    promptLookupMax: 5,
    promptLookupMin: 5,
  });
  expect(parse({ method: 'ngram', numSpeculativeTokens: 2, prompt_lookup_max: 3 })).toMatchObject({
    promptLookupMax: 3,
    promptLookupMin: 3,
  });
  const draft = { method: 'draft_model', model: 'm', numSpeculativeTokens: 3, revision: null };
  expect(parse({ model: 'm', num_speculative_tokens: 3 })).toEqual({ ...draft, draftTensorParallelSize: null });
  expect(parse({ ...draft, revision: 'main', draft_tensor_parallel_size: 2 })).toEqual({
    ...draft,
    revision: 'main',
    draftTensorParallelSize: 2,
  });
  const refusals: [object, string][] = [
    [
      { method: 'eagle', num_speculative_tokens: 1 },
      'speculativeConfig: method must be one of ngram, draft_model, got "eagle".',
    ],
    [{ num_speculative_tokens: 1 }, 'speculativeConfig: method must be one of ngram, draft_model, got undefined.'],
    [
      { method: 'draft_model', num_speculative_tokens: 1 },
      'speculativeConfig: model must be a non-empty string, got undefined.',
    ],
    [
      { model: 'm', num_speculative_tokens: 1, prompt_lookup_max: 2 },
      'speculativeConfig: promptLookupMax is no field of method draft_model.',
    ],
    [
      { method: 'ngram', model: 'm', num_speculative_tokens: 1 },
      'speculativeConfig: model is no field of method ngram.',
    ],
    [{ method: 'ngram' }, 'speculativeConfig: numSpeculativeTokens must be an integer in [1, 64], got undefined.'],
    [{ method: 'ngram', num_speculative_tokens: 1, draft: 'm' }, 'speculativeConfig has an unknown field "draft".'],
    [
      { method: 'ngram', num_speculative_tokens: 1, prompt_lookup_min: 4, prompt_lookup_max: 2 },
      'speculativeConfig: promptLookupMin must be at most promptLookupMax (2), got 4.',
    ],
  ];
  for (const [value, message] of refusals) expect(refusal({ speculativeConfig: value }).message).toBe(message);
});

test('the table and the types name the same arguments', () => {
  const typed = (options: { [N in keyof EngineOptions]-?: true }): { [N in EngineArgName]: true } => options;
  expect(typed).toBeTypeOf('function');
  for (const [name, { effect, check, default: fallback, type }] of Object.entries<EngineArg>(engineArgs)) {
    expect(effect, name).toMatch(/^.+$/);
    if (name !== 'model') expect(check(fallback, name), name).toEqual(fallback);
    expect(['string', 'integer', 'number', 'boolean', 'names', 'quantity', 'json'], name).toContain(type);
  }
});

test('nearest names: slips are found, strangers are not', () => {
  expect(nearestName('temperture', ['temperature', 'topP'])).toBe('temperature');
  expect(nearestName('top_q', ['top_p', 'top_k'])).toBe('top_p');
  expect(nearestName('completely_else', ['temperature', 'topP'])).toBe(null);
  expect(nearestName('x'.repeat(10_000), ['temperature'])).toBe(null);
});
