import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../../packages/core/src/errors.ts';
import { type KvCacheQuestion, kvCacheSize } from '../../../packages/core/src/worker/index.ts';

/** A block takes 2 KV heads * 16 slots * 32 * 2 bytes = 2 KiB a tensor and 20 KiB in all. */
const question: KvCacheQuestion = {
  numLayers: 5,
  numKvHeads: 2,
  headDim: 32,
  blockSize: 16,
  dtype: 'f16',
  maxNumSeqs: 4,
  maxModelLen: 512,
  fitMaxModelLen: false,
  maxTensorBytes: 2 ** 27,
  budget: { kind: 'blocks', blocks: 100 },
};
const size = (changes: Partial<KvCacheQuestion>) => kvCacheSize({ ...question, ...changes });
const bytes = (n: number) => ({ kind: 'bytes', bytes: n, source: 'kvCacheMemoryBytes' }) as const;

describe('kvCacheSize', () => {
  it('adds the null block to a number of usable blocks', () => {
    expect(size({})).toEqual({
      numBlocks: 101,
      bytes: 101 * 20480,
      maxModelLen: 512,
      tokens: 1600,
      fullLengthRequests: 100 / 32,
    });
  });

  it('pays for the null block out of bytes', () => {
    expect(size({ budget: bytes(33 * 20480) }).numBlocks).toBe(33);
    expect(size({ budget: bytes(34 * 20480 - 1) }).numBlocks).toBe(33);
    expect(size({ budget: bytes(33 * 20480), dtype: 'f32', maxModelLen: 240 }).numBlocks).toBe(16);
  });

  it('pays for as many blocks of a draft model', () => {
    const beside = { besideBlockBytes: 4096, budget: bytes(50 * (20480 + 4096)) };
    expect(size(beside)).toMatchObject({ numBlocks: 50, bytes: 50 * 20480 });
    expect(() => size({ ...beside, budget: bytes(33 * 20480) })).toThrow(/needs 32 KV blocks, 811008 bytes/);
    expect(size({ besideBlockBytes: 4096 }).numBlocks).toBe(101);
  });

  it('fails with numbers when one full-length request has no room', () => {
    const small = () => size({ budget: bytes(33 * 20480 - 1) });
    expect(small).toThrow(ConfigError);
    expect(small).toThrow(
      'A request of 512 tokens needs 32 KV blocks, 675840 bytes with the null block, but kvCacheMemoryBytes of 675839 bytes ' +
        'pays for 31. Raise it, or lower maxModelLen to at most 496.',
    );
    expect(() => size({ budget: { kind: 'blocks', blocks: 3 } })).toThrow(
      /numGpuBlocksOverride gives 3\. Raise it, or lower maxModelLen to at most 48\./,
    );
  });

  it('fits maxModelLen where nobody asked for a length', () => {
    expect(size({ budget: { kind: 'blocks', blocks: 3 }, fitMaxModelLen: true })).toMatchObject({
      numBlocks: 4,
      maxModelLen: 48,
      tokens: 48,
      fullLengthRequests: 1,
    });
    expect(() => size({ budget: bytes(20480), fitMaxModelLen: true })).toThrow(/pays for 0\. Raise it\./);
  });

  it('keeps each tensor within the limit of the device', () => {
    expect(size({ maxTensorBytes: 50 * 2048 }).numBlocks).toBe(50);
    expect(() => size({ maxTensorBytes: 20 * 2048 })).toThrow(
      /tensors of 40960 bytes hold 19\. Lower maxModelLen to at most 304\./,
    );
  });

  it('takes room for the expected requests when the device tells no memory', () => {
    const unknown = (capBytes: number) => ({ kind: 'unknown', capBytes }) as const;
    expect(size({ budget: unknown(2 ** 30) }).tokens).toBe(4 * 512);
    expect(size({ budget: unknown(2 ** 30), maxModelLen: 8192 }).tokens).toBe(8192);
    expect(size({ budget: unknown(2 ** 30), maxModelLen: 8192, maxNumSeqs: 32 }).tokens).toBe(32 * 512);
    expect(size({ budget: unknown(65 * 20480) }).numBlocks).toBe(65);
    expect(size({ budget: unknown(20480) }).numBlocks).toBe(33);
  });
});
