/** Arguments of the engine that name files: the model, its tokenizer, its defaults and templates, and repacked weights. */
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, type EngineOptions } from '@quire/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LLM } from '../../packages/server/src/index.ts';
import { openTestReference } from '../support/devices.ts';
import { root } from './build.ts';
import { run, small, tokensOf } from './engine-run.ts';
import { goldenCase, tinyLlama } from './tiny-server.ts';

const tinyOpt = join(root, 'models/tiny-opt');
const scratch = mkdtempSync(join(tmpdir(), 'quire-args-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const golden = goldenCase('dog-at-the-farm');

describe('the model and its files', () => {
  /** A Hugging Face cache with two commits of tiny-llama; the second stops after two tokens. */
  const cache = join(scratch, 'hub');
  const repository = join(cache, 'models--quire--tiny');
  beforeAll(() => {
    cpSync(tinyLlama, join(repository, 'snapshots/bbbb'), { recursive: true });
    // As huggingface-cli leaves it: links to blobs.
    cpSync(tinyLlama, join(repository, 'blobs'), { recursive: true });
    mkdirSync(join(repository, 'snapshots/aaaa'));
    for (const file of readdirSync(tinyLlama)) {
      symlinkSync(join('../../blobs', file), join(repository, 'snapshots/aaaa', file));
    }
    const file = join(repository, 'snapshots/bbbb/generation_config.json');
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), max_new_tokens: 2 }));
    mkdirSync(join(repository, 'refs/pr'), { recursive: true });
    writeFileSync(join(repository, 'refs/main'), 'aaaa\n');
    writeFileSync(join(repository, 'refs/pr/7'), 'bbbb');
  });
  const lengthAt = async (options: EngineOptions) => {
    const { outputs } = await run({ downloadDir: cache, ...options }, [golden.promptTokenIds], {
      temperature: 0,
      maxTokens: null,
    });
    return outputs[0]!.outputs[0]!.tokenIds.length;
  };

  it('model, revision and downloadDir find a snapshot in a cache, and main without a revision', async () => {
    expect(await lengthAt({ model: 'quire/tiny' })).toBe(golden.tokenIds.length);
    for (const revision of ['pr/7', 'bbbb']) expect(await lengthAt({ model: 'quire/tiny', revision })).toBe(2);
    expect(await lengthAt({ model: repository, revision: 'bbbb' })).toBe(2);
    expect(await lengthAt({ model: join(repository, 'snapshots/bbbb'), revision: 'bbbb' })).toBe(2);
  });

  it.each([
    [{ model: 'quire/other' }, 'model', 'HF_HUB_OFFLINE is set'],
    [{ model: 'quire/tiny', revision: 'v2' }, 'revision', 'It has aaaa, bbbb.'],
    [{ model: 'quire/tiny', revision: '../../..' }, 'revision', 'which the cache of this model lacks'],
    [{ model: tinyLlama, revision: 'main' }, 'revision', 'is a plain folder and has none'],
  ])('refuses %j', async (options, option, message) => {
    const refused = run({ downloadDir: cache, ...options }, []);
    await expect(refused).rejects.toBeInstanceOf(ConfigError);
    await expect(refused).rejects.toMatchObject({ option, message: expect.stringContaining(message) });
  });

  it('tokenizer takes that of another folder; tokenizerMode changes nothing', async () => {
    const [own] = (await run({ tokenizerMode: 'slow' }, ['The dog'])).outputs;
    const [other] = (await run({ tokenizer: tinyOpt }, ['The dog'])).outputs;
    expect(own!.promptTokenIds).toEqual((await run({}, ['The dog'])).outputs[0]!.promptTokenIds);
    // OPT begins every text with a token of its own.
    expect(other!.promptTokenIds.length).toBeGreaterThan(own!.promptTokenIds.length);
  });

  it('loadFormat takes one format alone, auto what there is', async () => {
    const tokens = async (model: string, loadFormat: string) =>
      tokensOf((await run({ model, loadFormat }, [[5, 6]])).outputs);
    expect(await tokens(tinyLlama, 'safetensors')).toEqual(await tokens(tinyLlama, 'auto'));
    expect(await tokens(tinyOpt, 'pt')).toEqual(await tokens(tinyOpt, 'auto'));
    await expect(tokens(tinyLlama, 'pt')).rejects.toThrow('Expected pytorch_model.bin, or the index');
    await expect(tokens(tinyOpt, 'safetensors')).rejects.toThrow('Expected model.safetensors, or the index');
  });

  it('generationConfig chooses the defaults of sampling; ids that end a request count all the same', async () => {
    const folder = join(scratch, 'generation');
    mkdirSync(folder);
    writeFileSync(
      join(folder, 'generation_config.json'),
      JSON.stringify({ temperature: 0, max_new_tokens: 3, eos_token_id: [2, 0] }),
    );
    const model = join(repository, 'snapshots/bbbb');
    const ask = (generationConfig: string) =>
      run({ model, generationConfig }, [golden.promptTokenIds], { temperature: 0, maxTokens: null });
    expect((await ask('auto')).outputs[0]!.outputs[0]!.tokenIds).toHaveLength(2);
    expect((await ask(folder)).outputs[0]!.outputs[0]!.tokenIds).toHaveLength(3);
    const plain = (await ask('vllm')).outputs[0]!.outputs[0]!;
    expect(plain).toMatchObject({ tokenIds: golden.tokenIds, finishReason: 'stop' });
  });

  it('chatTemplate replaces the template of the model: as text or as a file', async () => {
    const template = '{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}';
    const file = join(scratch, 'template.jinja');
    writeFileSync(file, template);
    for (const chatTemplate of [template, file]) {
      await using llm = new LLM({ model: tinyLlama, device: await openTestReference(), ...small, chatTemplate });
      const [output] = await llm.chat([{ role: 'user', content: 'Hello' }], { maxTokens: 1 });
      expect(output!.prompt).toBe('<user>Hello');
    }
    await expect(run({ chatTemplate: join(scratch, 'none.jinja') }, [])).rejects.toMatchObject({
      option: 'chatTemplate',
    });
    await expect(run({ chatTemplate: template, skipTokenizerInit: true }, [])).rejects.toMatchObject({
      option: 'chatTemplate',
    });
  });
});

describe('useNpWeights', () => {
  const downloadDir = join(scratch, 'repacked');
  const model = join(scratch, 'opt');
  const entries = () => (existsSync(downloadDir) ? readdirSync(join(downloadDir, 'quire-weights')) : []);
  const weightsIn = (entry: string) => join(downloadDir, 'quire-weights', entry, 'model.safetensors');
  const load = (dtype: string) => run({ model, dtype, useNpWeights: true, downloadDir }, [[5, 6, 7]]);
  beforeAll(() => cpSync(tinyOpt, model, { recursive: true }));

  it('keeps converted weights, and loads them instead of converting again', async () => {
    const expected = tokensOf((await run({ model, dtype: 'bfloat16' }, [[5, 6, 7]])).outputs);
    expect(tokensOf((await load('bfloat16')).outputs)).toEqual(expected);
    const [entry] = entries();
    expect(entries()).toHaveLength(1);
    const written = statSync(weightsIn(entry!));
    expect(written.size).toBeGreaterThan(3_000_000);
    expect(tokensOf((await load('bfloat16')).outputs)).toEqual(expected);
    expect(statSync(weightsIn(entry!)).mtimeMs).toBe(written.mtimeMs);
    // An entry with other values, and with the checksum of those, gives other tokens: it is what is loaded.
    const bytes = readFileSync(weightsIn(entry!));
    const header = 8 + Number(bytes.readBigUInt64LE());
    const other = Buffer.concat([bytes.subarray(0, header), Buffer.alloc(bytes.length - header)]);
    const manifest = join(weightsIn(entry!), '../manifest.json');
    const kept = readFileSync(manifest);
    writeFileSync(weightsIn(entry!), other);
    writeFileSync(manifest, JSON.stringify({ sha256: createHash('sha256').update(other).digest('hex') }));
    expect(tokensOf((await load('bfloat16')).outputs)).not.toEqual(expected);
    writeFileSync(manifest, kept);
  });

  it('makes a damaged entry anew', async () => {
    const [entry] = entries();
    // Its checksum no longer fits.
    const expected = tokensOf((await run({ model, dtype: 'bfloat16' }, [[5, 6, 7]])).outputs);
    expect(tokensOf((await load('bfloat16')).outputs)).toEqual(expected);
    const bytes = readFileSync(weightsIn(entry!));
    const damaged = Buffer.from(bytes);
    damaged[damaged.length - 5]! ^= 0x40;
    writeFileSync(weightsIn(entry!), damaged);
    expect(tokensOf((await load('bfloat16')).outputs)).toEqual(expected);
    expect(readFileSync(weightsIn(entry!)).equals(bytes)).toBe(true);
  });

  it('rounds again when the model changes, and keeps nothing when there is nothing to round', async () => {
    const before = entries();
    const weights = join(model, 'pytorch_model.bin');
    utimesSync(weights, new Date(), new Date(Date.now() + 5000));
    await load('bfloat16');
    expect(entries()).toHaveLength(before.length + 1);
    for (const dtype of ['float16', 'float32', 'auto']) await load(dtype);
    expect(entries()).toHaveLength(before.length + 1);
  });
});
