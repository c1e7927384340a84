import { readFile } from 'node:fs/promises';
import { ConfigError, loadTokenizer, parseEngineConfig } from '@quire/core';
import { MemorySource } from '@quire/core/weights';
import { expect, test } from 'vitest';
import { openDraft } from '../../../packages/core/src/llm/draft-supply.ts';

const folder = new URL('../../../models/tiny-llama/', import.meta.url);

/** The files of tiny-llama but for its weights, with two tokens exchanged. */
async function folderOf(a: string, b: string): Promise<MemorySource> {
  const tokenizer = JSON.parse(await readFile(new URL('tokenizer.json', folder), 'utf8'));
  const { vocab } = tokenizer.model;
  [vocab[a], vocab[b]] = [vocab[b], vocab[a]];
  const files = new Map<string, Uint8Array>([['tokenizer.json', new TextEncoder().encode(JSON.stringify(tokenizer))]]);
  for (const file of ['config.json', 'tokenizer_config.json']) files.set(file, await readFile(new URL(file, folder)));
  return new MemorySource(files);
}

function open(draftSource: MemorySource | undefined, fields: object = {}) {
  const speculativeConfig = { model: 'smaller', numSpeculativeTokens: 2, ...fields };
  const config = parseEngineConfig({ speculativeConfig, loadFormat: 'dummy' });
  return async () => {
    const tokenizer = await loadTokenizer(await folderOf('a', 'a'));
    return openDraft({ config, ...(draftSource ? { draftSource } : {}) }, tokenizer);
  };
}

test('a draft model of the same tokens is taken', async () => {
  const draft = await open(await folderOf('a', 'a'))();
  expect(draft).toMatchObject({ numSpeculativeTokens: 2, checkpoint: null, modelConfig: { vocabSize: 1024 } });
});

test.each([
  ['other tokens', 'b', {}, /another tokenizer than the model: token \d+ is "[ab]" there and "[ab]" here/],
  ['another number of ranks', 'a', { draft_tensor_parallel_size: 2 }, /draftTensorParallelSize is 2, but .* are 1/],
] as const)('a draft model of %s is refused', async (_, exchanged, fields, problem) => {
  const error = await open(await folderOf('a', exchanged), fields)().catch(reason => reason);
  expect(error).toBeInstanceOf(ConfigError);
  expect(error.option).toBe('speculativeConfig');
  expect(error.message).toMatch(problem);
});

test('one that nobody opened is refused', async () => {
  await expect(open(undefined)()).rejects.toThrow('no source of it was given');
});
