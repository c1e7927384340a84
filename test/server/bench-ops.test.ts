import { expect, test } from 'vitest';
import { benchOps } from '../../packages/server/src/bench/ops.ts';
import { openTestReference } from '../support/devices.ts';

test('times the ops of a device, with limits where memory decides', async () => {
  const rows = await benchOps(await openTestReference(), { maxTensorBytes: 1 << 20, budget: 3 });
  expect(rows[0]).toMatchObject({ name: 'ops.bandwidth', unit: 'GB/s', limit: null, share: null });
  const names = rows.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const name of ['ops.linear.f16.8x192x192', 'ops.sample.8x1024', 'ops.pagedAttention.f32.8x1.6x2x32.256']) {
    const row = rows.find(candidate => candidate.name === name)!;
    expect(row.unit).toBe('us');
    expect(row.value).toBeGreaterThan(0);
    expect(row.share! * row.value).toBeCloseTo(row.limit!, 0);
  }
  // Above the bound on tensors: 2048 x 2048 halves.
  expect(names).not.toContain('ops.linear.f16.8x2048x2048');
  // Limited by arithmetic.
  expect(rows.find(({ name }) => name === 'ops.linear.f16.64x192x192')!.limit).toBeNull();
});
