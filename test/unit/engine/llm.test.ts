import { readdirSync, readFileSync } from 'node:fs';
import {
  ConfigError,
  EngineClosedError,
  InvalidRequestError,
  LLM,
  type LLMOptions,
  MemorySource,
  ModelFormatError,
  type Progress,
} from '@quire/core';
import type { Device } from '@quire/core/contract';
import { openReferenceDevice } from '@quire/core/reference';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const folder = new URL('../../../models/tiny-llama/', import.meta.url);
const golden = JSON.parse(readFileSync(new URL('golden.json', folder), 'utf8')) as {
  cases: { name: string; prompt: string; promptTokenIds: number[]; tokenIds: number[]; text: string }[];
};
const shortest = [...golden.cases].sort((a, b) => a.tokenIds.length - b.tokenIds.length).slice(0, 3);
const greedy = { temperature: 0, maxTokens: 200 };

function source(): MemorySource {
  const names = readdirSync(folder).filter(name => /\.(json|safetensors)$/.test(name));
  return new MemorySource(new Map(names.map(name => [name, readFileSync(new URL(name, folder))])));
}

/** A runtime that knows one model and one device, and counts what is opened and closed. */
function runtime() {
  const state = { devices: [] as Device[], open: 0 };
  return {
    state,
    openDevice: async (name: string) => {
      expect(name).toBe('auto');
      state.open++;
      const device = await openReferenceDevice();
      state.devices.push(device);
      const dispose = device.dispose.bind(device);
      device.dispose = async () => {
        state.open--;
        await dispose();
      };
      return device;
    },
    openSource: async (location: string) => {
      if (location !== 'tiny-llama') throw new ModelFormatError('IO_ERROR', 'no such folder', { file: 'config.json' });
      return source();
    },
  };
}

describe('LLM', () => {
  let device: Device;
  let llm: LLM;
  const never = { openDevice: () => Promise.reject(new Error()), openSource: () => Promise.reject(new Error()) };

  beforeAll(async () => {
    device = await openReferenceDevice();
    llm = new LLM({ model: source(), device, maxNumSeqs: 8, maxNumBatchedTokens: 64 }, never);
    await llm.load();
  });
  afterAll(async () => {
    await llm.dispose();
    expect(device.allocatedBytes()).toBe(0);
    await device.dispose();
  });

  test('generate completes each prompt, in order, and reports progress', async () => {
    const progress: Progress[] = [];
    const outputs = await llm.generate(
      shortest.map(({ prompt }) => prompt),
      greedy,
      { onProgress: step => progress.push(step) },
    );
    for (const [i, output] of outputs.entries()) {
      expect(output).toMatchObject({
        prompt: shortest[i]!.prompt,
        promptTokenIds: shortest[i]!.promptTokenIds,
        finished: true,
      });
      expect(output.outputs[0]).toMatchObject({
        tokenIds: shortest[i]!.tokenIds,
        text: shortest[i]!.text,
        finishReason: 'stop',
      });
    }
    expect(progress.map(({ finished, total }) => [finished, total])).toEqual([
      [1, 3],
      [2, 3],
      [3, 3],
    ]);
    const tokens = shortest.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
    expect(progress.at(-1)!.generationTokens).toBe(tokens);
  });

  test('one prompt of token ids, and parameters for each prompt', async () => {
    const { promptTokenIds, tokenIds } = shortest[0]!;
    const [output] = await llm.generate(promptTokenIds, greedy);
    expect(output!.outputs[0]!.tokenIds).toEqual(tokenIds);
    const both = await llm.generate(
      [{ promptTokenIds }, { promptTokenIds }],
      [greedy, { temperature: 0, maxTokens: 1 }],
    );
    expect(both.map(({ outputs }) => outputs[0]!.tokenIds.length)).toEqual([tokenIds.length, 1]);
  });

  test('chat renders the template and encodes it with special tokens', async () => {
    const messages = [{ role: 'user', content: 'Tell me a story.' }];
    const [output] = await llm.chat(messages, { temperature: 0, maxTokens: 4 });
    const tokenizer = await llm.tokenizer();
    expect(output!.prompt).toBe(tokenizer.renderChat(messages));
    expect(output!.promptTokenIds).toEqual(tokenizer.encodeChat(messages));
    const several = await llm.chat([messages, messages], { temperature: 0, maxTokens: 4 });
    expect(several.map(({ outputs }) => outputs[0]!.text)).toEqual([
      output!.outputs[0]!.text,
      output!.outputs[0]!.text,
    ]);
  });

  test('a wrong prompt or parameter refuses the whole call, and nothing keeps running', async () => {
    const { asyncLLM } = await llm.load();
    await expect(llm.generate(['fine', ''], greedy)).rejects.toBeInstanceOf(InvalidRequestError);
    await expect(llm.generate('x', { topP: 2 })).rejects.toMatchObject({ param: 'top_p' });
    await expect(llm.generate(['a', 'b'], [greedy])).rejects.toThrow(/2 prompts but 1 sets of sampling parameters/);
    expect(asyncLLM.stats()).toMatchObject({ numRequestsRunning: 0, numRequestsWaiting: 0 });
  });

  test('a signal rejects the call with its reason and frees what it held', async () => {
    const { asyncLLM } = await llm.load();
    const controller = new AbortController();
    const call = llm.generate(
      ['Once upon a time', 'Once'],
      { temperature: 0, maxTokens: 200, ignoreEos: true },
      controller,
    );
    setTimeout(() => controller.abort(new Error('enough')), 20);
    await expect(call).rejects.toThrow('enough');
    expect(asyncLLM.stats()).toMatchObject({ numRequestsRunning: 0, numRequestsWaiting: 0, kvCacheUsage: 0 });
    await expect(llm.generate('x', greedy, { signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow(
      'before',
    );
  });

  test('options are checked by the constructor', () => {
    expect(() => new LLM({ model: 'm', maxNumSeq: 4 } as LLMOptions, never)).toThrow(ConfigError);
    expect(() => new LLM({ model: 'm', maxNumSeq: 4 } as LLMOptions, never)).toThrow(/maxNumSeqs/);
  });
});

describe('what an LLM opens by name', () => {
  test('is closed by dispose, which also refuses further calls', async () => {
    const names = runtime();
    const llm = new LLM({ model: 'tiny-llama', maxNumSeqs: 2, maxNumBatchedTokens: 32 }, names);
    expect(names.state.open).toBe(0);
    await llm.generate('Once', { temperature: 0, maxTokens: 2 });
    expect(names.state.open).toBe(1);
    await Promise.all([llm.dispose(), llm.dispose()]);
    expect(names.state.open).toBe(0);
    expect(names.state.devices[0]!.allocatedBytes()).toBe(0);
    await expect(llm.generate('Once')).rejects.toBeInstanceOf(EngineClosedError);
  });

  test('is closed when loading fails, and loading can be tried again', async () => {
    const names = runtime();
    const llm = new LLM({ model: 'tiny-llama', tokenizer: 'elsewhere' }, names);
    await expect(llm.load()).rejects.toBeInstanceOf(ModelFormatError);
    await expect(llm.generate('x')).rejects.toBeInstanceOf(ModelFormatError);
    const tooLong = new LLM({ model: 'tiny-llama', maxModelLen: 100_000 }, names);
    await expect(tooLong.load()).rejects.toBeInstanceOf(ConfigError);
    expect(names.state.open).toBe(0);
    await tooLong.dispose();
    await llm.dispose();
  });
});
