/** The stages of scripts/gpu-probe that measure, run small on the emulator: that they do what they time, and report it whole. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  buildEmulatedProbe,
  cannotBuild,
  type ProbeLine,
  probeFolder,
  runEmulated,
  runProbe,
  withFolder,
} from './emulated-probe.ts';

const measuring = ['device', 'warpgroup', 'bandwidth', 'launch', 'mma'];

describe.skipIf(cannotBuild)('measuring stages on the emulator (needs g++)', () => {
  let lines: ProbeLine[] = [];
  beforeAll(() => {
    buildEmulatedProbe();
    const run = withFolder(folder => runEmulated(folder, measuring));
    lines = run.lines;
    expect(run.code, JSON.stringify(lines.filter(line => line.error))).toBe(0);
  });
  const of = (stage: string, what: string) => lines.filter(line => line.stage === stage && line.what === what);

  it('end one by one, and say so', () => {
    expect(lines.filter(line => line.end === 'done').map(line => line.stage)).toEqual(measuring);
    expect(lines.at(-1)).toMatchObject({ stage: 'probe', unfinished: '' });
  });

  it('mark each number of the emulator as such', () => {
    const results = lines.filter(line => line.what !== undefined || line.headline !== undefined);
    expect(results.every(line => line.emulated === true)).toBe(true);
  });

  it('find products of warpgroups exact, in every form and dtype', () => {
    const products = of('warpgroup', 'product');
    expect(products.map(row => [row.type, row.a, row.n])).toEqual(
      ['f16', 'bf16'].flatMap(type => [
        [type, 'shared memory', 128],
        [type, 'registers', 64],
        [type, 'registers', 128],
      ]),
    );
    expect(products.every(row => row.wrong === 0 && Number(row.elements) >= 4096)).toBe(true);
  });

  it('measure reads, copies and writes of several sizes and bytes in flight', () => {
    for (const kind of ['read', 'copy', 'write']) {
      const rows = of('bandwidth', kind);
      expect(new Set(rows.map(row => row.bytes)).size, kind).toBeGreaterThan(1);
      expect(new Set(rows.map(row => row.bytesInFlightPerSm)).size, kind).toBeGreaterThan(1);
      expect(rows.every(row => Number(row.gbPerSecond) > 0)).toBe(true);
    }
    expect(of('bandwidth', 'latency').map(row => row.where)).toEqual(['L2', 'DRAM']);
  });

  it('keep kernels of every form in order, eagerly and in graphs', () => {
    const forms = ['plain', 'dependent', 'dependent, early'];
    expect(of('launch', 'order').map(row => [row.form, row.eager, row.graph])).toEqual(forms.map(f => [f, true, true]));
    for (const form of forms) {
      const nodes = of('launch', 'graph').filter(row => row.form === form && row.grid === 'one block');
      expect(nodes.map(row => row.nodes)).toEqual([1, 10]);
    }
  });

  it.each(['grid barrier', 'copy node', 'set node', 'launch and wait', 'stream to stream', 'pinned copy to host'])(
    'report %s',
    what => expect(of('launch', what).length).toBeGreaterThan(0),
  );

  it.each(['mma.sync from registers', 'mma.sync with ldmatrix', 'cp.async from L2'])('report %s', what =>
    expect(of('mma', what).length).toBeGreaterThan(0),
  );

  it('refuse a stage that is not there', () => {
    const run = runEmulated('.', ['device', 'bandwith']);
    expect(run).toMatchObject({ code: 2, lines: [] });
    expect(run.stderr).toContain('unknown stage bandwith');
  });
});

const built = existsSync(join(probeFolder, 'build', 'gpu-probe'));
const hasGpu = spawnSync('nvidia-smi', ['-L'], { stdio: 'ignore' }).status === 0;
describe.skipIf(!built || hasGpu)('the probe for a GPU, where none is (needs scripts/gpu-probe/build.sh)', () => {
  it('says why in one line and ends well', () => {
    const run = withFolder(folder => runProbe('gpu-probe', [folder]));
    expect(run.code).toBe(0);
    expect(run.lines).toEqual([{ stage: 'device', device: null, reason: expect.stringMatching(/driver/) }]);
  });
});
