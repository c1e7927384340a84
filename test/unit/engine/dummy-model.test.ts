/** Stand-ins for weights, on a folder with config.json alone: for benchmarks. */
import { InvalidRequestError, LLM, type LLMOptions, MemorySource } from '@quire/core';
import { openReferenceDevice } from '@quire/core/reference';
import { expect, test } from 'vitest';

const config = {
  architectures: ['LlamaForCausalLM'],
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 500,
  max_position_embeddings: 64,
  torch_dtype: 'bfloat16',
};
const runtime = { openDevice: () => Promise.reject(new Error()), openSource: () => Promise.reject(new Error()) };

async function open(options: Partial<LLMOptions>): Promise<LLM> {
  const model = new MemorySource(new Map([['config.json', Buffer.from(JSON.stringify(config))]]), 'shapes');
  return new LLM({ model, device: await openReferenceDevice(), numGpuBlocksOverride: 16, ...options }, runtime);
}

test.each([{}, { skipTokenizerInit: true }, { dtype: 'bfloat16' }])('runs on token ids with %o', async options => {
  const llm = await open({ loadFormat: 'dummy', ...options });
  const params = { temperature: 0, maxTokens: 12, ignoreEos: true };
  const prompts = [
    [1, 2, 3, 4],
    [400, 3, 499],
  ];
  const outputs = await llm.generate(
    prompts.map(promptTokenIds => ({ promptTokenIds })),
    params,
  );
  const tokens = outputs.map(({ outputs: [first] }) => first!.tokenIds);
  // Finite and not degenerate: both prompts wander, each in its own way.
  for (const ids of tokens) expect(new Set(ids).size).toBeGreaterThan(2);
  expect(tokens[0]).not.toEqual(tokens[1]);
  expect(outputs.map(({ outputs: [first] }) => first!.text)).toEqual(['', '']);
  await llm.dispose();
});

test('refuses text by name', async () => {
  const llm = await open({ loadFormat: 'dummy' });
  await expect(llm.generate('Hello')).rejects.toThrow('This engine has no tokenizer: give the prompt as token ids.');
  await expect(llm.chat([{ role: 'user', content: 'Hello' }])).rejects.toThrow(InvalidRequestError);
  await expect(llm.generate([[1]], { detokenize: true })).rejects.toThrow('this engine has no tokenizer');
  await llm.dispose();
});

test('a folder without a tokenizer is broken unless nothing is to be read from it', async () => {
  const llm = await open({});
  await expect(llm.load()).rejects.toThrow(/tokenizer.json/);
  await llm.dispose();
});
