/** Adapters as models of a server: from the start, on request, and in an engine process that is killed. */
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseModelConfig } from '../../packages/core/src/models/parse-config.ts';
import { readLoraModule } from '../../packages/server/src/cli/server-flags.ts';
import { openFolderSource } from '../../packages/server/src/index.ts';
import { writeAdapterFolder } from '../support/adapter-folder.ts';
import { until } from '../support/until.ts';
import { build } from './build.ts';
import { type CrashPlan, openProcess } from './engine-process-fixture.ts';
import { startTinyServer, type TinyServer, tinyLlama } from './tiny-server.ts';

const parent = mkdtempSync(join(tmpdir(), 'quire-lora-'));
const allowed = join(parent, 'allowed');
const outside = join(parent, 'outside');
const prompt = 'Once upon a time';

beforeAll(async () => {
  const source = await openFolderSource(tinyLlama);
  const config = await parseModelConfig(source).finally(() => source.close());
  for (const [name, seed] of [
    ['one', 1],
    ['two', 2],
  ] as const) {
    writeAdapterFolder(allowed, name, config, seed);
  }
  writeAdapterFolder(outside, 'secret', config, 3);
  writeAdapterFolder(allowed, 'large', config, 4, 24);
  mkdirSync(join(allowed, 'broken'));
  writeFileSync(join(allowed, 'broken', 'adapter_config.json'), '{"peft_type": "LORA", "r": 2, "use_dora": true}');
  symlinkSync(join(outside, 'secret'), join(allowed, 'link'));
});

describe('a server with adapters', () => {
  let tiny: TinyServer;
  beforeAll(async () => {
    tiny = await startTinyServer({
      enableLora: true,
      maxLoras: 2,
      numGpuBlocksOverride: 200,
      loraModules: [{ name: 'one', path: join(allowed, 'one') }],
      loraFolder: [allowed],
    });
  });
  afterAll(() => tiny.server.close(0));

  const complete = async (model: string) => {
    const { choices, model: answered } = await tiny.client.completions.create({
      model,
      prompt,
      temperature: 0,
      max_tokens: 12,
    });
    expect(answered).toBe(model);
    return choices[0]!.text;
  };
  const post = async (path: string, body: object) => {
    const response = await fetch(`${tiny.origin}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return { status: response.status, text: await response.text() };
  };
  const names = async () => (await tiny.client.models.list()).data.map(({ id }) => id);

  it('lists them behind the model, and answers with them by name', async () => {
    const { data } = await tiny.client.models.list();
    expect(data).toMatchObject([
      { id: 'tiny', parent: null },
      { id: 'one', parent: 'tiny', owned_by: 'quire' },
    ]);
    const [base, adapted] = await Promise.all([complete('tiny'), complete('one')]);
    expect(adapted).not.toBe(base);
    const chat = await tiny.client.chat.completions.create({
      model: 'one',
      messages: [{ role: 'user', content: 'Hi' }],
      max_completion_tokens: 4,
    });
    expect(chat.model).toBe('one');
  });

  it('loads and unloads them on request, while others run', async () => {
    expect(await post('/v1/load_lora_adapter', { lora_name: 'two', lora_path: 'two' })).toEqual({
      status: 200,
      text: "Success: LoRA adapter 'two' added successfully.",
    });
    expect(await names()).toEqual(['tiny', 'one', 'two']);
    const [one, two] = await Promise.all([complete('one'), complete('two')]);
    expect(two).not.toBe(one);
    const again = await post('/v1/load_lora_adapter', { lora_name: 'two', lora_path: join(allowed, 'two') });
    expect([again.status, again.text]).toEqual([400, expect.stringContaining('is loaded already')]);
    // Which of the two comes first is not said.
    const running = complete('two').then(
      text => expect(text).toBe(two),
      error => expect(error.status).toBe(404),
    );
    expect(await post('/v1/unload_lora_adapter', { lora_name: 'two' })).toMatchObject({ status: 200 });
    await running;
    expect(await names()).toEqual(['tiny', 'one']);
    await expect(complete('two')).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
    expect(await post('/v1/unload_lora_adapter', { lora_name: 'two' })).toMatchObject({ status: 404 });
  });

  it.each([
    ['a path outside', join(outside, 'secret')],
    ['a way up', '../outside/secret'],
    ['a link that leads outside', 'link'],
    ['the folder itself', '.'],
    ['what is not there', 'three'],
    ['what is not there outside', join(outside, 'nothing')],
  ])('loads nothing from %s, and tells nothing of it', async (_, path) => {
    const { status, text } = await post('/v1/load_lora_adapter', { lora_name: 'x', lora_path: path });
    expect(status).toBe(400);
    expect(JSON.parse(text).error).toMatchObject({
      param: 'lora_path',
      message: 'lora_path must be a folder that lies in one of those that --lora-folder names.',
    });
  });

  it.each([
    [{ lora_name: 'x', lora_path: 'broken' }, 'lora_path', 'field use_dora'],
    [{ lora_name: 'x', lora_path: 'large' }, 'lora_path', 'rank 24, but maxLoraRank of this engine is 16'],
    [{ lora_name: 'tiny', lora_path: 'two' }, 'lora_name', 'The model itself is served as "tiny"'],
    [{ lora_name: '', lora_path: 'two' }, 'lora_name', 'lora_name must have 1 to'],
    [{ lora_path: 'two' }, 'lora_name', 'lora_name must be a string'],
    [{ lora_name: 'x', lora_path: 'two', load_inplace: true }, 'load_inplace', 'is not supported'],
  ])('refuses %j', async (body, param, message) => {
    const { status, text } = await post('/v1/load_lora_adapter', body);
    expect([status, JSON.parse(text).error.param]).toEqual([400, param]);
    expect(JSON.parse(text).error.message).toContain(message);
    expect(await names()).toEqual(['tiny', 'one']);
  });

  it('tells routers which run', async () => {
    const scrape = async () => {
      const text = await (await fetch(`${tiny.origin}/metrics`)).text();
      return text.split('\n').filter(line => line.startsWith('vllm:lora_requests_info{'));
    };
    const idle = 'vllm:lora_requests_info{max_lora="2",running_lora_adapters="",waiting_lora_adapters=""} ';
    const [before] = await scrape();
    expect(before).toContain(idle);
    const stream = await tiny.client.completions.create({ model: 'one', prompt, max_tokens: 100, stream: true });
    const iterator = stream[Symbol.asyncIterator]();
    await iterator.next();
    const during = await scrape();
    expect(during).toEqual([
      expect.stringContaining('{max_lora="2",running_lora_adapters="one",waiting_lora_adapters=""} '),
    ]);
    await iterator.return!();
    await expect.poll(scrape).toEqual([expect.stringContaining(idle)]);
    const [after] = await scrape();
    expect(Number(after!.split(' ').at(-1))).toBeGreaterThan(Number(before!.split(' ').at(-1)));
  });
});

it('keeps as many as 16 in memory, unless told otherwise, and takes another when one is unloaded', async () => {
  const tiny = await startTinyServer({ enableLora: true, numGpuBlocksOverride: 200, loraFolder: [allowed] });
  const post = async (path: string, body: object) => {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${tiny.origin}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
    return { status: response.status, text: await response.text() };
  };
  const load = (name: string) => post('/v1/load_lora_adapter', { lora_name: name, lora_path: 'one' });
  for (let i = 1; i <= 16; i++) expect(await load(`a${i}`)).toMatchObject({ status: 200 });
  const refused = await load('a17');
  expect([refused.status, JSON.parse(refused.text).error.message]).toEqual([
    400,
    '16 adapters are loaded, all that maxCpuLoras allows. Unload one.',
  ]);
  expect(await post('/v1/unload_lora_adapter', { lora_name: 'a3' })).toMatchObject({ status: 200 });
  expect(await load('a17')).toMatchObject({ status: 200 });
  expect((await tiny.client.models.list()).data).toHaveLength(17);
  await tiny.server.close(0);
});

it('loads none on request without a folder for that', async () => {
  const tiny = await startTinyServer({ enableLora: true, numGpuBlocksOverride: 200 });
  for (const path of ['/v1/load_lora_adapter', '/v1/unload_lora_adapter']) {
    const response = await fetch(`${tiny.origin}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ lora_name: 'x', lora_path: join(allowed, 'one') }),
    });
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({ error: { code: 'lora_updates_disabled' } });
  }
  await tiny.server.close(0);
  await expect(startTinyServer({ loraFolder: [allowed] })).rejects.toThrow('loraFolder needs enableLora');
  await expect(startTinyServer({ enableLora: true, loraFolder: [join(parent, 'none')] })).rejects.toThrow(
    'is no folder',
  );
});

it('reads them from the command line', () => {
  expect(readLoraModule('sql=/a=b')).toEqual({ name: 'sql', path: '/a=b' });
  expect(readLoraModule('{"name": "sql", "path": "/a", "base_model_name": "x"}')).toEqual({ name: 'sql', path: '/a' });
  for (const text of ['sql', '=x', 'sql=', '{"name": "sql"}', '{'])
    expect(() => readLoraModule(text)).toThrow('--lora-modules must be NAME=FOLDER');
});

describe('an engine process', () => {
  beforeAll(build);

  it('that is killed is replaced by one with the same adapters, removed ones that are used among them', async () => {
    const open = async (...crashes: CrashPlan) => {
      const { engine, numStarted } = await openProcess(crashes, { enableLora: true, maxLoras: 2 });
      await engine.addLora({ loraName: 'one', loraPath: join(allowed, 'one') });
      await engine.addLora({ loraName: 'two', loraPath: join(allowed, 'two') });
      const run = async (loraName: string | null) => {
        let ids: number[] = [];
        const options = { outputKind: 'final', loraRequest: loraName === null ? null : { loraName } } as const;
        const params = { temperature: 0, maxTokens: 60, ignoreEos: true };
        for await (const { outputs } of engine.generate(prompt, params, options)) ids = outputs[0]!.tokenIds;
        return ids;
      };
      return { engine, numStarted, run };
    };
    const undisturbed = await open();
    expect(undisturbed.engine.loras).toEqual(['one', 'two']);
    await expect(undisturbed.engine.addLora({ loraName: 'x', loraPath: join(allowed, 'broken') })).rejects.toThrow(
      'use_dora',
    );
    const expected = await Promise.all([null, 'one', 'two'].map(undisturbed.run));
    expect(new Set(expected.map(String)).size).toBe(3);
    await undisturbed.engine.dispose();
    // It stands still at some step until it is killed, however late this process looks.
    const { engine, numStarted, run } = await open({ stopAtStep: 8 });
    const again = Promise.all([null, 'one', 'two'].map(run));
    await until(() => engine.stats().runningAdapters.length === 2);
    expect(engine.stats().runningAdapters.toSorted()).toEqual(['one', 'two']);
    await engine.removeLora('two');
    process.kill(engine.pid!, 'SIGKILL');
    expect(await again).toEqual(expected);
    expect(numStarted()).toBe(2);
    expect(() => engine.generate(prompt, {}, { loraRequest: { loraName: 'two' } })).toThrow(
      'There is no adapter "two"',
    );
    expect(await run('one')).toEqual(expected[1]);
    // Under the same name comes another one.
    await engine.addLora({ loraName: 'two', loraPath: join(allowed, 'one') });
    expect(await run('two')).toEqual(expected[1]);
    await engine.dispose();
  });
});
