import { expect, test } from 'vitest';
import { benchEngine } from '../../packages/server/src/bench/engine.ts';

test('measures the engine on a device that computes nothing', async () => {
  const rows = await benchEngine({ batches: [8, 64], steps: 200, heapSteps: 4000 });
  const value = (name: string) => rows.find(row => row.name === name)!.value;
  expect(rows.map(({ name }) => name)).toEqual([
    'engine.step.8',
    'engine.step.8.p99',
    'engine.step.64',
    'engine.step.64.p99',
    'engine.asyncLLM.256',
    'engine.prefix.hash.32768',
    'engine.prefix.lookup.32768',
    'engine.heap.growth.4000',
    'engine.kv.waste',
  ]);
  for (const { name, value: measured } of rows)
    if (!name.startsWith('engine.heap')) expect(measured).toBeGreaterThan(0);
  expect(value('engine.kv.waste')).toBeLessThan(4);
  // Far above the target, for machines that are busy with other tests.
  expect(value('engine.step.64')).toBeLessThan(5000);
});
