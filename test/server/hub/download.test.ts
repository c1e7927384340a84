/** Models by name: what the cache lacks comes from a hub. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { ConfigError } from '@quire/core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CachedModel } from '../../../packages/server/src/hub/cached-model.ts';
import { downloadModel } from '../../../packages/server/src/hub/download-model.ts';
import { HubError } from '../../../packages/server/src/hub/hub-error.ts';
import { hubSettings } from '../../../packages/server/src/hub/hub-settings.ts';
import { type FindModelOptions, findModel } from '../../../packages/server/src/node/model-folder.ts';
import type { TransferReport } from '../../../packages/server/src/node/transfer-progress.ts';
import { until } from '../../support/until.ts';
import { FakeHub, refuse, sha256 } from './fake-hub.ts';

const bytes = (length: number, seed: number) => Buffer.from(Array.from({ length }, (_, i) => (i * 31 + seed) & 255));
const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const NAME = 'org/model';

const description = new Map([
  ['config.json', json({ a: 1 })],
  ['tokenizer.json', bytes(20_000, 1)],
  ['tokenizer_config.json', json({ b: 2 })],
]);
const weights = bytes(300_000, 7);

let hub: FakeHub;
let home: string;
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'quire-hub-'));
  hub = await new FakeHub(NAME, new Map([...description, ['model.safetensors', weights]])).listen();
  for (const name of ['HF_HUB_CACHE', 'HF_TOKEN', 'HF_HUB_OFFLINE']) vi.stubEnv(name, '');
  vi.stubEnv('HF_HOME', home);
  vi.stubEnv('HF_ENDPOINT', hub.origin);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.close();
  rmSync(home, { recursive: true });
});

const repository = () => join(home, 'hub/models--org--model');
const find = (options: FindModelOptions = {}, name = NAME) => findModel(name, { retryMs: 20, ...options });
const failure = (options?: FindModelOptions, name?: string) =>
  find(options, name).then(
    folder => expect.unreachable(folder),
    (error: Error & { code?: string }) => error,
  );

describe('the layout', () => {
  it('is that of every tool: blobs by digest, snapshots of links, refs', async () => {
    const folder = await find();
    expect(folder).toBe(join(repository(), 'snapshots', hub.commit));
    expect(readFileSync(join(repository(), 'refs/main'), 'utf8')).toBe(hub.commit);
    expect(readdirSync(folder).sort()).toEqual([...hub.files.keys()].sort());
    for (const [name, content] of hub.files) {
      expect(readFileSync(join(folder, name)).equals(content), name).toBe(true);
      expect(readlinkSync(join(folder, name))).toMatch(/^\.\.\/\.\.\/blobs\/([0-9a-f]{40}|[0-9a-f]{64})$/);
    }
    expect(basename(realpathSync(join(folder, 'model.safetensors')))).toBe(sha256(weights));
    expect(readdirSync(join(repository(), 'blobs'))).toHaveLength(4);
    expect(readdirSync(join(home, 'hub/.locks/models--org--model'))).toEqual([]);
    expect(readdirSync(home)).toEqual(['hub']);
  });

  it('is found again without a question to the hub, also offline', async () => {
    const folder = await find();
    hub.requests.length = 0;
    expect(await find()).toBe(folder);
    expect(await find({ revision: hub.commit })).toBe(folder);
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    expect(await find()).toBe(folder);
    expect(hub.requests).toEqual([]);
  });

  it('keeps a branch with slashes, and files that two revisions share once', async () => {
    await find();
    const asked = hub.asked.length;
    expect(await find({ revision: 'refs/pr/1' })).toBe(join(repository(), 'snapshots', hub.commit));
    expect(readFileSync(join(repository(), 'refs/refs/pr/1'), 'utf8')).toBe(hub.commit);
    expect(hub.asked).toHaveLength(asked);
  });

  it('brings what a snapshot lacks, and links blobs that are there', async () => {
    const folder = await find();
    for (const name of ['model.safetensors', 'config.json']) rmSync(join(folder, name));
    rmSync(join(repository(), 'blobs', sha256(weights)));
    hub.requests.length = 0;
    await find();
    expect(hub.asked).toEqual(['model.safetensors']);
    expect(readFileSync(join(folder, 'config.json')).equals(hub.files.get('config.json')!)).toBe(true);
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
  });

  it('replaces a link that leads to nothing', async () => {
    const folder = join(repository(), 'snapshots', hub.commit);
    mkdirSync(folder, { recursive: true });
    symlinkSync('../../blobs/gone', join(folder, 'config.json'));
    await find();
    expect(readFileSync(join(folder, 'config.json')).equals(hub.files.get('config.json')!)).toBe(true);
  });
});

describe('which files', () => {
  const others = new Map([
    ['pytorch_model.bin', bytes(20_000, 3)],
    ['consolidated.safetensors', bytes(20_000, 4)],
    ['original/params.json', json({})],
    ['README.md', json('read me')],
    ['../escape.json', json({})],
    ['.gitattributes', json('')],
    ['training_args.bin', bytes(100, 5)],
  ]);

  it('only those that are read, and no pickle where there are safetensors', async () => {
    hub.files = new Map([...hub.files, ...others]);
    await find();
    expect(hub.asked.sort()).toEqual([...description.keys(), 'model.safetensors'].sort());
    expect(existsSync(join(home, 'escape.json'))).toBe(false);
  });

  it('the pickle where it alone is there, or is asked for', async () => {
    hub.files = new Map([...description, ...others]);
    await find();
    expect(hub.asked).toContain('pytorch_model.bin');
    hub.files = new Map([...hub.files, ['model.safetensors', weights]]);
    hub.requests.length = 0;
    await find({ weights: 'safetensors' });
    expect(hub.asked).toEqual(['model.safetensors']);
  });

  it('no weights for dummy ones or a tokenizer', async () => {
    await find({ weights: 'none' });
    expect(hub.asked.sort()).toEqual([...description.keys()].sort());
    hub.requests.length = 0;
    await find({ weights: 'none' });
    expect(hub.requests).toEqual([]);
  });

  it('the shards that the index names, and no others', async () => {
    const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
    const index = {
      weight_map: { a: shards[0], b: shards[1], c: shards[0], d: '../../evil', e: 'absent.safetensors' },
    };
    hub.files = new Map([
      ...description,
      ['model.safetensors.index.json', json(index)],
      ...shards.map((name, i) => [name, bytes(50_000, i)] as const),
      ['model-00003-of-00003.safetensors', bytes(50_000, 9)],
    ]);
    const folder = await find();
    expect(hub.asked.slice(-2).sort()).toEqual(shards);
    expect(
      readdirSync(folder)
        .filter(name => name.startsWith('model-'))
        .sort(),
    ).toEqual(shards);
  });
});

describe('connections that break', () => {
  /** Sends a part of the weights, as often as it is told, and breaks off. */
  function breakOff(times: number, part = 100_000): void {
    hub.trouble = (req, res, file) => {
      if (file !== 'cdn:model.safetensors' || times-- <= 0) return false;
      const start = Number(/\d+/.exec(req.headers.range ?? '0')![0]);
      if (start > 0) res.setHeader('content-range', `bytes ${start}-${weights.length - 1}/${weights.length}`);
      res.writeHead(start > 0 ? 206 : 200, { 'content-length': weights.length - start });
      res.flushHeaders();
      if (part > 0) res.write(weights.subarray(start, start + part));
      // Once what was sent is kept: what comes together with the end of its connection may be lost.
      const kept = () => statSync(incomplete(), { throwIfNoEntry: false })?.size ?? 0;
      void until(() => part === 0 || kept() > start).then(() => res.destroy());
      return true;
    };
  }
  const incomplete = () => join(repository(), 'blobs', `${sha256(weights)}.incomplete`);
  const ranges = () => hub.requests.filter(({ path }) => path === 'cdn:model.safetensors').map(({ range }) => range);

  it('are taken up where they broke', async () => {
    breakOff(2, 90_000);
    const folder = await find();
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
    const starts = ranges().map(range => Number(/\d+/.exec(range ?? '0')![0]));
    expect(starts).toHaveLength(3);
    expect(starts[0]).toBe(0);
    expect(starts[1]).toBeGreaterThan(0);
    expect(starts[2]).toBeGreaterThan(starts[1]!);
  });

  it('are given up after five that brought nothing; the next start takes up what had come', async () => {
    breakOff(100, 0);
    mkdirSync(join(repository(), 'blobs'), { recursive: true });
    writeFileSync(incomplete(), weights.subarray(0, 123_456));
    const settings = hubSettings(null);
    const cached = CachedModel.named(settings.cache, NAME);
    const asked = { model: NAME, revision: 'main', weights: 'any', cached, settings, retryMs: 1 } as const;
    const error = await downloadModel(asked).catch((e: HubError) => e);
    expect(error).toBeInstanceOf(HubError);
    expect(error).toMatchObject({
      code: 'hub_unreachable',
      message: expect.stringContaining('cannot be reached, or broke off'),
    });
    expect(ranges()).toHaveLength(5);
    expect(existsSync(join(repository(), 'refs'))).toBe(false);
    hub.trouble = () => false;
    hub.requests.length = 0;
    const folder = await find();
    expect(ranges()).toEqual(['bytes=123456-']);
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
    expect(existsSync(incomplete())).toBe(false);
  });

  it('start anew at a hub that knows no ranges', async () => {
    mkdirSync(join(repository(), 'blobs'), { recursive: true });
    writeFileSync(join(repository(), 'blobs', `${sha256(weights)}.incomplete`), weights.subarray(0, 5_000));
    hub.trouble = (_req, res, file) => {
      if (file !== 'cdn:model.safetensors') return false;
      res.writeHead(200, { 'content-length': weights.length }).end(weights);
      return true;
    };
    expect(readFileSync(join(await find(), 'model.safetensors')).equals(weights)).toBe(true);
  });

  it('of a hub that is busy are tried again', async () => {
    let refusals = 2;
    hub.trouble = (_req, res) => {
      if (refusals-- <= 0) return false;
      refuse(res, refusals === 1 ? 503 : 429, '');
      return true;
    };
    await find();
    expect(refusals).toBeLessThan(0);
  });

  it('leave a snapshot that does without to be used as it is', async () => {
    const folder = await find();
    rmSync(join(folder, 'tokenizer.json'));
    await hub.close();
    expect(await find()).toBe(folder);
    const error = await failure({}, 'org/other');
    expect(error).toMatchObject({ code: 'hub_unreachable', message: expect.stringContaining('ECONNREFUSED') });
  });
});

describe('what is wrong', () => {
  it('a file with another digest is deleted, and nothing links to it', async () => {
    const wrong = Buffer.from(weights);
    wrong[1234]! ^= 1;
    hub.wrong.set('model.safetensors', wrong);
    const error = await failure();
    expect(error).toMatchObject({
      code: 'hub_integrity',
      message: expect.stringContaining('model.safetensors of org/model'),
    });
    expect(readdirSync(join(repository(), 'blobs')).filter(name => name.startsWith(sha256(weights)))).toEqual([]);
    expect(existsSync(join(repository(), 'snapshots', hub.commit, 'model.safetensors'))).toBe(false);
    expect(existsSync(join(repository(), 'refs/main'))).toBe(false);
  });

  it('a small file with another digest', async () => {
    hub.wrong.set('config.json', json({ a: 2 }));
    expect((await failure()).code).toBe('hub_integrity');
  });

  it('a file longer than announced stops at once', async () => {
    hub.wrong.set('model.safetensors', Buffer.concat([weights, weights, weights]));
    expect(await failure()).toMatchObject({ code: 'hub_integrity', message: expect.stringContaining('longer than') });
  });

  it('a rest of an earlier start that is wrong is thrown away, and the file brought anew', async () => {
    mkdirSync(join(repository(), 'blobs'), { recursive: true });
    writeFileSync(join(repository(), 'blobs', `${sha256(weights)}.incomplete`), Buffer.alloc(50_000));
    expect(readFileSync(join(await find(), 'model.safetensors')).equals(weights)).toBe(true);
  });

  it.each([
    ['no JSON', '<html>', 'is not JSON'],
    ['no commit', '{"siblings":[]}', 'no commit'],
    ['a commit that is a path', '{"sha":"../../../../evil","siblings":[]}', 'no commit'],
    ['no files', `{"sha":"${'a'.repeat(40)}"}`, 'no list of its files'],
  ])('an answer with %s', async (_what, body, message) => {
    hub.trouble = (_req, res) => {
      res.end(body);
      return true;
    };
    expect(await failure()).toMatchObject({ code: 'hub_answer', message: expect.stringContaining(message) });
    expect(readdirSync(home)).toEqual([]);
  });

  it('a digest that is a path is not asked for', async () => {
    const siblings = [{ rfilename: 'config.json', size: 3, blobId: '../../../evil' }];
    hub.trouble = (_req, res) => {
      res.end(JSON.stringify({ sha: hub.commit, siblings }));
      return true;
    };
    await find();
    expect(hub.asked).toEqual([]);
    expect(readdirSync(home)).toEqual(['hub']);
  });

  it('another digest in the answer than in the list', async () => {
    hub.trouble = (_req, res, file) => {
      if (file === 'model.safetensors') res.setHeader('x-linked-etag', `"${'0'.repeat(64)}"`);
      const real = res.setHeader.bind(res);
      res.setHeader = (name, value) => (name === 'x-linked-etag' ? res : real(name, value));
      return false;
    };
    expect(await failure()).toMatchObject({ code: 'hub_answer', message: expect.stringContaining('was listed') });
  });

  it('redirects without end, and to what is no address', async () => {
    hub.trouble = (req, res) => {
      res.writeHead(307, { location: req.url! }).end();
      return true;
    };
    expect((await failure()).message).toContain('more than 5 redirects');
    hub.trouble = (_req, res) => {
      res.writeHead(307, { location: 'file:///etc/passwd' }).end();
      return true;
    };
    expect((await failure()).message).toContain('no address');
  });

  it('an endpoint that is none, and a revision that is a path', async () => {
    expect(await failure({ revision: '../../..' })).toMatchObject({ option: 'revision' });
    vi.stubEnv('HF_ENDPOINT', 'nowhere');
    expect((await failure()).message).toContain('HF_ENDPOINT is "nowhere"');
  });

  it('a cache that cannot be written', async () => {
    writeFileSync(join(home, 'hub'), 'a file');
    expect(await failure()).toMatchObject({ code: 'hub_cache', message: expect.stringContaining('cannot be used') });
  });
});

describe('access', () => {
  it('a model that does not exist, or is private', async () => {
    const error = await failure({}, 'org/other');
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toMatch(/model is "org\/other", which is no folder here.*answered 401.*set HF_TOKEN/);
  });

  it('a revision that does not exist', async () => {
    expect((await failure({ revision: 'v9' })).message).toContain('answered 404 RevisionNotFound for org/model at v9');
  });

  it('a gated model', async () => {
    vi.stubEnv('HF_TOKEN', 'hf_secret');
    hub.trouble = (_req, res) => {
      refuse(res, 403, 'GatedRepo');
      return true;
    };
    const { message } = await failure();
    expect(message).toContain(`The model is gated: ask for access on ${hub.origin}. The token in HF_TOKEN does not`);
    expect(message).not.toContain('hf_secret');
  });

  it('the token goes to the hub alone, from the environment or the file', async () => {
    vi.stubEnv('HF_TOKEN', ' hf_secret\n');
    await find();
    for (const { path, authorization } of hub.requests) {
      expect(authorization, path).toBe(path.startsWith('cdn:') ? undefined : 'Bearer hf_secret');
    }
    expect(hub.requests.some(({ path }) => path.startsWith('cdn:'))).toBe(true);
    vi.stubEnv('HF_TOKEN', '');
    writeFileSync(join(home, 'token'), 'hf_file');
    rmSync(join(home, 'hub'), { recursive: true });
    await find();
    expect(hub.requests.at(-1)!.path).toMatch(/^cdn:/);
    expect(hub.requests.at(-2)!.authorization).toBe('Bearer hf_file');
    vi.stubEnv('HF_TOKEN', 'two words');
    const { message } = await failure({}, 'org/other');
    expect(message).toContain('HF_TOKEN holds spaces');
    expect(message).not.toContain('words');
  });

  it('offline, what is not there is not asked for', async () => {
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    const error = await failure();
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toContain('HF_HUB_OFFLINE is set');
    expect(hub.requests).toEqual([]);
  });
});

it('tells how far it is', async () => {
  const reports: TransferReport[] = [];
  mkdirSync(join(repository(), 'blobs'), { recursive: true });
  writeFileSync(join(repository(), 'blobs', `${sha256(weights)}.incomplete`), weights.subarray(0, 100_000));
  await find({ onDownload: report => reports.push(report) });
  const total = [...hub.files.values()].reduce((sum, { length }) => sum + length, 0);
  expect(reports.at(-1)).toMatchObject({ bytes: total, totalBytes: total });
  expect(reports.at(-1)!.bytesPerSecond).toBeGreaterThan(0);
});

it('two that want the same model do not disturb each other', async () => {
  const folders = await Promise.all([find(), find(), find()]);
  expect(new Set(folders).size).toBe(1);
  expect(hub.asked.filter(name => name === 'model.safetensors')).toHaveLength(1);
  expect(lstatSync(join(folders[0]!, 'model.safetensors')).isSymbolicLink()).toBe(true);
});

it('takes over the lock of a process that has gone', async () => {
  const folder = join(home, 'hub/.locks/models--org--model');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'quire.lock'), `999999999 ${(await import('node:os')).hostname()}`);
  await find();
  expect(readdirSync(folder)).toEqual([]);
});
