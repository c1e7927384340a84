/** The committed budgets of the hot kernels belong to the sources as they are, and say what they miss. Needs no nvcc. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { atLeast, missedOf } from '../../../packages/backend-cuda/scripts/budget-rules.mjs';
import { budgetHash, hotKernelHash, packageFolder } from '../../../packages/backend-cuda/scripts/sources.mjs';

const architectures = ['sm_80', 'sm_90'] as const;
const hot = [
  'linearGemv',
  'gatedLinearGemv',
  'linearSwapAb',
  'gatedLinearSwapAb',
  'linearSplit',
  'gatedLinearSplit',
  'linearTiled',
  'gatedLinearTiled',
  'linearNormed',
  'linearRotated',
  'gatedLinearNormed',
  'linearQuantGemv',
  'linearQuantSwapAb',
  'gatedLinearQuantSwapAb',
  'linearQuantTiled',
  'decodeTensor',
  'decodeSimt',
  'prefill',
  'prefillWgmma',
  'rmsNorm',
  'ropeKvWrite',
  'argmax',
  'sample',
  'filterLogits',
  'loraShrink',
  'loraExpand',
  'persistentStep',
];

type Numbers = Record<string, number>;
interface Assessment {
  instance: string;
  bound: 'bandwidth' | 'compute' | 'launch';
  budget: Numbers;
  found: Numbers;
  missed: string[];
  limitMicroseconds: number;
  predictedMicroseconds: number;
}
type Case = { kernel: string; shape: string } & Partial<Record<(typeof architectures)[number], Assessment>>;
interface GraphStep {
  step: string;
  budget: Numbers;
  found: Numbers;
  missed: string[];
}
interface Budgets {
  graph: GraphStep[];
  command: string;
  sourceHash: string;
  casesHash: string;
  cases: Case[];
}
const read = (name: string) => JSON.parse(readFileSync(join(packageFolder, 'kernels', name), 'utf8'));
const budgets = read('budgets.json') as Budgets;
/** Kernels on warpgroup products are of sm_90 alone. */
const architecturesOf = (name: string) => (/wgmma/i.test(name) ? (['sm_90'] as const) : architectures);
const assessments = budgets.cases.flatMap(each =>
  architecturesOf(each.kernel).map(architecture => ({ architecture, kernel: each.kernel, ...each[architecture]! })),
);

describe('kernels/budgets.json', () => {
  test('is that of the present sources', () => {
    const advice = `Kernels or cases have changed: run ${budgets.command} where nvcc is, and commit.`;
    expect(budgets.sourceHash, advice).toBe(hotKernelHash());
    expect(budgets.casesHash, advice).toBe(budgetHash());
  });

  test('holds every hot kernel against the limits of both architectures', () => {
    for (const each of budgets.cases) {
      expect(architectures.filter(name => each[name] !== undefined)).toEqual(architecturesOf(each.kernel));
    }
    expect(new Set(budgets.cases.map(({ kernel }) => /^\w+/.exec(kernel)![0]))).toEqual(new Set(hot));
    for (const { architecture, kernel, bound, budget } of assessments) {
      const place = `${kernel} on ${architecture}`;
      expect([budget.spillBytes, budget.stackBytes, budget.localAccesses], place).toEqual([0, 0, 0]);
      expect(budget.registers, place).toBeLessThanOrEqual(255);
      expect(budget.sharedBytes, place).toBeLessThanOrEqual((architecture === 'sm_80' ? 163 : 227) * 1024);
      expect(budget.traffic, place).toBeLessThanOrEqual(1.05);
      const wide = (budget.wideLoads ?? 0) + (budget.wideAsyncCopies ?? 0);
      expect(wide, `${place} uses accesses of 16 bytes`).toBeGreaterThanOrEqual(1);
      if (bound !== 'bandwidth') continue;
      expect(budget.bytesInFlightPerSm, place).toBeGreaterThanOrEqual((architecture === 'sm_80' ? 16 : 40) * 1024);
    }
  });

  test('names what is missed, and predicts no time below the limit', () => {
    for (const { budget, found, missed, limitMicroseconds, predictedMicroseconds } of assessments) {
      expect(Object.keys(found)).toEqual(Object.keys(budget));
      expect(missed).toEqual(missedOf(budget, found));
      expect(predictedMicroseconds).toBeGreaterThanOrEqual(limitMicroseconds);
    }
  });

  test('counts the launches of a decode step', () => {
    expect(budgets.graph.map(({ step }) => step)).toContain('models/tiny-llama greedy');
    for (const { budget, found, missed } of budgets.graph) {
      expect(budget).toEqual({ launchesPerLayer: 6, samplingLaunches: 3, copies: 0, sets: 0 });
      expect(missed).toEqual(missedOf(budget, found));
    }
  });

  test('agrees with the report on the compiled kernels', () => {
    const { kernels } = read('report.json') as { kernels: ({ name: string } & Record<string, Numbers>)[] };
    const compiled = new Map(kernels.map(kernel => [kernel.name, kernel]));
    for (const { architecture, instance, found } of assessments) {
      expect(found.registers, instance).toBe(compiled.get(instance)?.[architecture]?.registers);
    }
  });
});

describe('a budget', () => {
  test('is an upper bound, or a lower one where the list says so', () => {
    expect(missedOf({ registers: 128, blocksPerSm: 2 }, { registers: 128, blocksPerSm: 2 })).toEqual([]);
    expect(missedOf({ registers: 128, blocksPerSm: 2 }, { registers: 129, blocksPerSm: 1 })).toEqual([
      'registers',
      'blocksPerSm',
    ]);
    expect(atLeast).toContain('bytesInFlightPerSm');
  });

  test('that has no number is missed', () => {
    expect(missedOf({ traffic: 1.05, wideLoads: 1 }, {})).toEqual(['traffic', 'wideLoads']);
  });
});
