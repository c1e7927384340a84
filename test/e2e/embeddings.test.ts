/** Embedding models against test/oracles (float64 PyTorch): whole, in chunks, batched, behind cached prefixes and preempted. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ConfigError, ModelFormatError } from '@quire/core';
import type { Device } from '@quire/core/contract';
import { describe, expect, it } from 'vitest';
import { LLM } from '../../packages/server/src/index.ts';
import { openTestDevice, requiredDevices } from '../support/devices.ts';
import { relativeL2 } from './models.ts';

const folder = (name: string) => fileURLToPath(new URL(`../fixtures/embeddings/${name}`, import.meta.url));

interface Case {
  tokenIds: number[];
  pooled: number[];
  embedding: number[];
}

function casesOf(name: string): Case[] {
  return JSON.parse(readFileSync(`${folder(name)}/embeddings.json`, 'utf8'));
}

const models = [
  { name: 'qwen3-last', own: 'embedding' },
  { name: 'llama-mean', own: 'pooled' },
] as const;

function open(name: string, device: string | Device, options = {}) {
  return new LLM({
    model: folder(name),
    device,
    blockSize: 4,
    maxNumSeqs: 8,
    numGpuBlocksOverride: 200,
    ...options,
  });
}

async function worst(llm: LLM, cases: readonly Case[], key: 'pooled' | 'embedding', params = {}): Promise<number> {
  const outputs = await llm.embed(
    cases.map(({ tokenIds }) => tokenIds),
    params,
  );
  return Math.max(...outputs.map(({ embedding }, i) => relativeL2(embedding, cases[i]![key])));
}

describe.each(requiredDevices())('embeddings on %s', device => {
  it.each(models)('$name gives those of the oracle', async ({ name, own }) => {
    const opened = await openTestDevice(device);
    await using llm = open(name, opened);
    expect(await worst(llm, casesOf(name), own)).toBeLessThan(1e-5);
  });

  it.each(models)('$name gives them in chunks, and from the prefix cache', async ({ name, own }) => {
    const opened = await openTestDevice(device);
    await using llm = open(name, opened, { maxNumBatchedTokens: 7 });
    const cases = casesOf(name);
    expect(await worst(llm, cases, own)).toBeLessThan(1e-5);
    const again = await llm.embed(cases.map(({ tokenIds }) => tokenIds));
    expect(Math.max(...again.map(({ embedding }, i) => relativeL2(embedding, cases[i]![own])))).toBeLessThan(1e-5);
    // A mean is of all tokens, so it computes all of them.
    const isLast = name === 'qwen3-last';
    expect(again.map(({ numCachedTokens }) => numCachedTokens)).toEqual(
      cases.map(({ tokenIds }) => (isLast ? Math.floor((tokenIds.length - 1) / 4) * 4 : 0)),
    );
  });

  it.each(models)('$name gives them when blocks run out', async ({ name, own }) => {
    const opened = await openTestDevice(device);
    await using llm = open(name, opened, { maxNumBatchedTokens: 16, numGpuBlocksOverride: 20 });
    const cases = casesOf(name);
    expect(await worst(llm, [...cases, ...cases.slice().reverse()], own)).toBeLessThan(1e-5);
  });
});

describe('what an embedding is made of', () => {
  const cases = casesOf('qwen3-last');
  const cosine = (found: Float32Array, expected: readonly number[]) => relativeL2(found, expected);

  it('is cut before it is normalised', async () => {
    await using llm = open('qwen3-last', 'reference');
    const { embedding } = (await llm.embed([cases[3]!.tokenIds], { dimensions: 8 }))[0]!;
    const cut = cases[3]!.pooled.slice(0, 8);
    const length = Math.hypot(...cut);
    expect(embedding.length).toBe(8);
    expect(
      cosine(
        embedding,
        cut.map(value => value / length),
      ),
    ).toBeLessThan(1e-5);
    await expect(llm.embed([[1]], { dimensions: 25 })).rejects.toThrow(
      'dimensions must be an integer from 1 to 24, got 25',
    );
    await expect(llm.embed([[1]], { dimension: 8 } as object)).rejects.toThrow('Did you mean');
  });

  it('is normalised or not as the caller says, and as the options say', async () => {
    await using llm = open('qwen3-last', 'reference');
    expect(await worst(llm, cases, 'pooled', { normalize: false })).toBeLessThan(1e-5);
    await using other = open('llama-mean', 'reference', { poolerConfig: { pooling_type: 'MEAN', normalize: true } });
    expect(await worst(other, casesOf('llama-mean'), 'embedding')).toBeLessThan(1e-5);
  });

  it('has only the lengths that the model lists', async () => {
    await using llm = open('llama-mean', 'reference');
    expect((await llm.embed([[1, 2]], { dimensions: 16 }))[0]!.embedding.length).toBe(16);
    await expect(llm.embed([[1, 2]], { dimensions: 12 })).rejects.toThrow(
      'dimensions must be one of 8, 16, 24, got 12',
    );
  });

  it('takes texts that fill the context, and refuses longer ones', async () => {
    await using llm = open('qwen3-last', 'reference');
    const ids = Array.from({ length: 65 }, (_, i) => i);
    const [whole] = await llm.embed([ids.slice(1)]);
    await expect(llm.embed([ids])).rejects.toThrow('The prompt has 65 tokens; the context is 64 tokens.');
    const [cut] = await llm.embed([ids], { truncatePromptTokens: -1 });
    expect(cut!.embedding).toEqual(whole!.embedding);
    await expect(llm.embed([[]])).rejects.toThrow('The prompt is empty');
  });

  it('ends a text as its tokenizer says', async () => {
    await using llm = open('qwen3-last', 'reference');
    const [text] = await llm.embed('abc');
    expect(text!.promptTokenIds).toEqual([97, 98, 99, 256]);
  });
});

describe('what a model is for', () => {
  it('is refused where it is something else', async () => {
    await using embedding = open('qwen3-last', 'reference');
    await expect(embedding.generate('a')).rejects.toMatchObject({ code: 'wrong_task', param: 'model' });
    await using text = open('qwen3-last', 'reference', { runner: 'generate' });
    await expect(text.embed('a')).rejects.toMatchObject({ code: 'wrong_task' });
    expect((await text.generate([[1, 2]], { maxTokens: 3, temperature: 0 }))[0]!.outputs[0]!.tokenIds.length).toBe(3);
    await using headless = open('llama-mean', 'reference', { task: 'generate' });
    await expect(headless.load()).rejects.toThrow(ModelFormatError);
    expect(() => open('qwen3-last', 'reference', { runner: 'generate', task: 'embed' })).toThrow(ConfigError);
  });

  it('makes embeddings of a model that generates, when asked to', async () => {
    const model = fileURLToPath(new URL('../../models/tiny-llama', import.meta.url));
    await using llm = new LLM({ model, device: 'reference', task: 'embed', numGpuBlocksOverride: 40 });
    const [output] = await llm.embed('Once upon a time');
    expect(Math.hypot(...output!.embedding)).toBeCloseTo(1, 5);
  });
});
