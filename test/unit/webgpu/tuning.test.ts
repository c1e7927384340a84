/** Which way a large linear layer is computed is timed once, kept, and never in the way of anything. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openWebGpuDevice, type WebGpuOptions } from '@quire/backend-webgpu';
import { dawn } from '@quire/backend-webgpu/node';
import { ProgramBuilder } from '@quire/core/program';
import { describe, expect, it } from 'vitest';
import { keptChoices } from '../../../packages/backend-webgpu/src/choices.ts';
import type { LinearWay } from '../../../packages/backend-webgpu/src/kernel.ts';
import { type KeptChoices, LinearTuner } from '../../../packages/backend-webgpu/src/tuning.ts';
import { choiceFiles } from '../../../packages/server/src/node/choice-files.ts';
import { noSizes } from './fixtures.ts';

const way = (name: string): LinearWay => ({ name, lanes: { fragment: 'lanes_one', count: 1 }, sums: 'shared' });
const ways = [way('usual'), way('other'), way('third')] as const;
const layer = (columns: number) => ({ op: 'linear', dtype: 'f16', columns, depth: 2048 }) as const;

function memory(text?: string): KeptChoices & { text: string | undefined } {
  return {
    text,
    async read() {
      return this.text;
    },
    async write(written) {
      this.text = written;
    },
  };
}

/** A tuner on a clock that only runs advance: by `milliseconds(way, rows)` each. */
function onFakeClock(kept: KeptChoices, milliseconds: (name: string, rows: number) => number) {
  let time = 0;
  const opened: string[] = [];
  const runs: string[] = [];
  const tuner = new LinearTuner(ways, kept, () => time);
  const open = async (_: unknown, { name }: LinearWay) => {
    opened.push(name);
    const run = async (rows: number, times: number) => {
      runs.push(name);
      time += times * milliseconds(name, rows);
    };
    return { run, end: () => void opened.push(`end ${name}`) };
  };
  return { tuner, opened, runs, choose: (columns: number[]) => tuner.choose(columns.map(layer), open) };
}

describe('a tuner', () => {
  it('takes the way that is the fastest at one row and at many together', async () => {
    const times = { usual: [4, 4], other: [5, 1], third: [3, 3] } as const;
    const { tuner, choose, opened } = onFakeClock(
      memory(),
      (name, rows) => times[name as 'usual'][rows === 1 ? 0 : 1]!,
    );
    expect(tuner.way(layer(512)).name).toBe('usual');
    await choose([512]);
    expect(tuner.way(layer(512)).name).toBe('other');
    expect(opened).toEqual(['usual', 'end usual', 'other', 'end other', 'third', 'end third']);
  });

  it('stays with the usual way where another is hardly faster', async () => {
    const { tuner, choose } = onFakeClock(memory(), name => (name === 'usual' ? 1 : 0.93));
    await choose([512]);
    expect(tuner.way(layer(512)).name).toBe('usual');
  });

  it('reads the next time what it wrote, and measures only what is new', async () => {
    const kept = memory();
    await onFakeClock(kept, name => (name === 'third' ? 1 : 2)).choose([512]);
    const second = onFakeClock(kept, () => 1);
    await second.choose([512]);
    expect(second.opened).toEqual([]);
    expect(second.tuner.way(layer(512)).name).toBe('third');
    await second.choose([512, 1024]);
    expect(second.opened.length).toBeGreaterThan(0);
    expect(Object.keys(JSON.parse(kept.text!))).toHaveLength(2);
  });

  it.each(['', '{', 'null', '[1]', '"linear"', '{"linear f16 512x2048":"gone"}', '{"linear f16 512x2048":{"a":1}}'])(
    'measures where the text kept is %j',
    async text => {
      const { tuner, choose } = onFakeClock(memory(text), name => (name === 'other' ? 1 : 2));
      await choose([512]);
      expect(tuner.way(layer(512)).name).toBe('other');
    },
  );

  it('needs no place to keep anything', async () => {
    const nowhere = {
      read: () => Promise.reject(new Error('no folder')),
      write: () => Promise.reject(new Error('full')),
    };
    const { tuner, choose } = onFakeClock(nowhere, name => (name === 'other' ? 1 : 2));
    await choose([512]);
    expect(tuner.way(layer(512)).name).toBe('other');
  });

  it('chooses for every layer, with a run of each when the time is spent', async () => {
    const kept = memory();
    const { choose, runs } = onFakeClock(kept, name => (name === 'other' ? 20 : 30));
    await choose([512]);
    const first = runs.length;
    expect(first).toBeGreaterThan(12);
    await choose([1024, 1536, 2048]);
    // Two numbers of rows in three ways, each run once to compile and once to be timed.
    expect(runs.length - first).toBeLessThan(first + 2 * 12 + 1);
    expect(new Set(Object.values(JSON.parse(kept.text!)))).toEqual(new Set(['other']));
    expect(Object.keys(JSON.parse(kept.text!))).toHaveLength(4);
  });

  it('passes over a way that cannot be had, and soon over one that is hopeless', async () => {
    const rowsOfOther: number[] = [];
    let time = 0;
    const tuner = new LinearTuner(ways, memory(), () => time);
    await tuner.choose([layer(512)], async (_, { name }) => {
      if (name === 'third') throw new Error('does not compile');
      const run = async (rows: number, times: number) => {
        if (name === 'other') rowsOfOther.push(rows);
        time += times * (name === 'other' ? 25 : 2);
      };
      return { run, end: () => {} };
    });
    expect(tuner.way(layer(512)).name).toBe('usual');
    expect(new Set(rowsOfOther)).toEqual(new Set([1]));
  });

  it('tries sums of integers for weights in few bits, whose columns are whole groups of 32', async () => {
    const opened: string[] = [];
    const integers = { ...way('integers'), sums: 'integers' } as const;
    const tuner = new LinearTuner([way('usual'), integers], memory());
    const layers = [
      layer(512),
      { ...layer(512), dtype: 'q8' },
      { ...layer(512), dtype: 'q8', depth: 2052 },
      { ...layer(512), dtype: 'q4_32' },
    ] as const;
    await tuner.choose(layers, async ({ dtype, depth }, { name }) => {
      opened.push(`${dtype} ${depth} ${name}`);
      return { run: async () => {}, end: () => {} };
    });
    expect(opened.filter(text => text.endsWith('integers'))).toEqual(['q8 2048 integers', 'q4_32 2048 integers']);
    expect(opened).toHaveLength(6);
  });

  it('with one way measures and reads nothing', async () => {
    const untouched = { read: () => expect.fail('read'), write: () => expect.fail('written') };
    const tuner = new LinearTuner([way('only')], untouched);
    await tuner.choose([layer(512)], () => expect.fail('opened'));
    expect(tuner.way(layer(512)).name).toBe('only');
  });
});

describe('a device', () => {
  /** The test's adapter under the name of a GPU: on those that tell that they are software there is no choice. */
  async function asGpu(): Promise<GPU> {
    const adapter = (await (await dawn([])).requestAdapter())!;
    const { vendor, subgroupMinSize, subgroupMaxSize } = adapter.info;
    const info = { vendor, architecture: '', device: '', description: 'a GPU', subgroupMinSize, subgroupMaxSize };
    const { features, limits } = adapter;
    const renamed = { features, limits, info, requestDevice: adapter.requestDevice.bind(adapter) };
    return { requestAdapter: async () => renamed } as unknown as GPU;
  }

  /** Compiles a program with a layer that is worth timing. */
  async function compileLarge(gpu: GPU, options: WebGpuOptions) {
    const device = await openWebGpuDevice(gpu, options);
    const [columns, depth] = [1024, 1024];
    const builder = new ProgramBuilder('large', { ...noSizes, tokens: 2 });
    builder.external('x', 'f32', ['tokens', depth]);
    builder.external('weight', 'f16', [columns, depth]);
    builder.external('out', 'f32', ['tokens', columns]);
    builder.add({ op: 'linear', x: 'x', weight: 'weight', out: 'out', activation: 'none', outColumn: 0 });
    const create = (name: string, dtype: 'f16' | 'f32', shape: number[]) =>
      device.createTensor({ name, dtype, shape, usage: 'weight' });
    const bindings = {
      x: create('x', 'f32', [2, depth]),
      weight: create('weight', 'f16', [columns, depth]),
      out: create('out', 'f32', [2, columns]),
    };
    device.write(bindings.x, new Float32Array(2 * depth).fill(1));
    device.write(bindings.weight, new Uint16Array(columns * depth).fill(0x3c00));
    const before = device.allocatedBytes();
    const executable = await device.compile(builder.build(), bindings);
    device.submit([{ executable, sizes: { ...noSizes, tokens: 2 } }]);
    const out = new Float32Array(2 * columns);
    await device.read(bindings.out, 0, out);
    executable.dispose();
    const added = device.allocatedBytes() - before;
    await device.dispose();
    return { out: new Set(out), added };
  }

  it('times a large layer once for all devices of the process, and frees what that took', async () => {
    const written: [string, string][] = [];
    let reads = 0;
    const choices = {
      read: async () => {
        reads++;
        return undefined;
      },
      write: async (name: string, text: string) => void written.push([name, text]),
    };
    for (let i = 0; i < 2; i++) {
      const { out, added } = await compileLarge(await asGpu(), { choices });
      expect(out).toEqual(new Set([1024]));
      // Staging and sizes stay, the timed layer's rows do not.
      expect(added).toBeLessThan(64 * 1024);
    }
    expect([written.length, reads]).toEqual([1, 1]);
    const [name, text] = written[0]!;
    expect(name).toMatch(/^linear-webgpu-[0-9a-f]{8}-[0-9a-f]{8}\.json$/);
    expect(JSON.parse(text)).toEqual({
      'linear f16 1024x1024': expect.stringMatching(/^(one|subgroup|columns|workgroup)$/),
    });
  });

  it('measures nothing where the way is asked for, nor in software', async () => {
    const choices = { read: () => expect.fail('read'), write: () => expect.fail('written') };
    expect((await compileLarge(await asGpu(), { choices, lanes: 'one' })).out).toEqual(new Set([1024]));
    expect((await compileLarge(await dawn([]), { choices })).out).toEqual(new Set([1024]));
  });
});

describe('choices of an adapter', () => {
  it('are files in the folder of caches', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'quire-choices-'));
    const files = choiceFiles(() => folder);
    await expect(files.read('a.json')).rejects.toThrow('ENOENT');
    await files.write('a.json', 'kept');
    expect(readdirSync(folder)).toEqual(['a.json']);
    // Another process reads the file, this one what it remembers.
    expect(await keptChoices('a.json', files).read()).toBe('kept');
    rmSync(folder, { recursive: true });
    await expect(keptChoices('b.json', files).write('x')).rejects.toThrow('ENOENT');
    expect(await keptChoices('b.json', files).read()).toBe('x');
  });
});
