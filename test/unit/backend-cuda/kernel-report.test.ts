/** The committed report on the compiled kernels belongs to the sources as they are. Needs no nvcc. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isWgmma, kernelHash, listSources, packageFolder } from '../../../packages/backend-cuda/scripts/sources.mjs';

const architectures = ['sm_80', 'sm_90'] as const;
const resources = ['registers', 'stack', 'spillStores', 'spillLoads', 'staticShared', 'constant'];

type Resources = Record<string, number>;
interface Report {
  command: string;
  sourceHash: string;
  compiler: string;
  kernels: ({ file: string; name: string } & Partial<Record<(typeof architectures)[number], Resources>>)[];
}
const report = JSON.parse(readFileSync(join(packageFolder, 'kernels/report.json'), 'utf8')) as Report;

describe('kernels/report.json', () => {
  test('is that of the present sources', () => {
    expect(report.sourceHash, `The kernels have changed: run ${report.command} where nvcc is, and commit.`).toBe(
      kernelHash(),
    );
    expect(report.compiler).toMatch(/^nvcc \d+\.\d+\.\d+$/);
  });

  test('names every kernel of every source once, on both architectures, or on the one that it is for', () => {
    const names = report.kernels.map(({ file, name }) => `${file} ${name}`);
    expect(new Set(names).size).toBe(names.length);
    const files = new Set(report.kernels.map(({ file }) => file));
    const sources = listSources('kernels', '.cu');
    // Those of others stand in a header.
    const withKernels = sources.filter(file => readFileSync(join(packageFolder, file), 'utf8').includes('__global__'));
    expect(withKernels.filter(file => !files.has(file))).toEqual([]);
    expect([...files].filter(file => !sources.includes(file))).toEqual([]);
    for (const kernel of report.kernels) {
      const found = architectures.filter(architecture => kernel[architecture] !== undefined);
      expect(found, kernel.name).toEqual(isWgmma(kernel.file) ? ['sm_90'] : architectures);
      for (const architecture of found) {
        const { registers, ...others } = kernel[architecture]!;
        expect(['registers', ...Object.keys(others)], kernel.name).toEqual(resources);
        expect(registers).toBeGreaterThan(0);
        expect(registers).toBeLessThanOrEqual(255);
      }
    }
  });
});
