import { ConfigError, nearestName, parseEngineConfig } from '@quire/core';
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
  expect(refusal({ tensorParallelSize: 2 }).option).toBe('tensorParallelSize');
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
  ['kvCacheDtype', 'int8'],
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
])('%s = %o is refused by name', (option, value) => {
  const error = refusal({ [option]: value });
  expect(error.option).toBe(option);
  expect(error.message).toMatch(new RegExp(`^${option} must be`));
});

test('nearest names: slips are found, strangers are not', () => {
  expect(nearestName('temperture', ['temperature', 'topP'])).toBe('temperature');
  expect(nearestName('top_q', ['top_p', 'top_k'])).toBe('top_p');
  expect(nearestName('completely_else', ['temperature', 'topP'])).toBe(null);
  expect(nearestName('x'.repeat(10_000), ['temperature'])).toBe(null);
});
