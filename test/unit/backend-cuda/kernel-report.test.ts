/** The committed report on the compiled kernels belongs to the sources as they are. Needs no nvcc. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { kernelHash, listSources, packageFolder } from '../../../packages/backend-cuda/scripts/sources.mjs';

const architectures = ['sm_80', 'sm_90'] as const;
const resources = ['registers', 'stack', 'spillStores', 'spillLoads', 'staticShared', 'constant'];

type Resources = Record<string, number>;
interface Report {
  command: string;
  sourceHash: string;
  compiler: string;
  kernels: ({ file: string; name: string } & Record<(typeof architectures)[number], Resources>)[];
}
const report = JSON.parse(readFileSync(join(packageFolder, 'kernels/report.json'), 'utf8')) as Report;

describe('kernels/report.json', () => {
  test('is that of the present sources', () => {
    expect(report.sourceHash, `The kernels have changed: run ${report.command} where nvcc is, and commit.`).toBe(
      kernelHash(),
    );
    expect(report.compiler).toMatch(/^nvcc \d+\.\d+\.\d+$/);
  });

  test('names every kernel of every source once, on both architectures', () => {
    const names = report.kernels.map(({ file, name }) => `${file} ${name}`);
    expect(new Set(names).size).toBe(names.length);
    const files = new Set(report.kernels.map(({ file }) => file));
    const sources = listSources('kernels', '.cu');
    // Those of others stand in a header.
    const withKernels = sources.filter(file => readFileSync(join(packageFolder, file), 'utf8').includes('__global__'));
    expect(withKernels.filter(file => !files.has(file))).toEqual([]);
    expect([...files].filter(file => !sources.includes(file))).toEqual([]);
    for (const kernel of report.kernels) {
      for (const architecture of architectures) {
        expect(Object.keys(kernel[architecture]), kernel.name).toEqual(resources);
        expect(kernel[architecture].registers).toBeGreaterThan(0);
        expect(kernel[architecture].registers).toBeLessThanOrEqual(255);
      }
    }
  });
});
