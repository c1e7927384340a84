/** A deliberately broken kernel is caught: each fault below is one that a real kernel could have. */
import { runCrosscheck } from '@quire/conformance';
import type { Op, OpName, OpOf, TypedArray } from '@quire/core/contract';
import { expect, test } from 'vitest';
import { openTestReference } from '../support/devices.ts';
import { breakDevice, type Fault } from './src/broken-device.ts';

/** The op with other attributes. */
function instead<K extends OpName>(name: K, change: (op: OpOf<K>) => Partial<OpOf<K>>): Fault {
  return { kernel: op => (op.op === name ? ({ ...op, ...change(op as OpOf<K>) } as Op) : op) };
}
/** A tensor left in another state. */
function overwrite(name: string, change: (contents: TypedArray) => void): Fault {
  return { memory: (contents, { spec }) => void (spec.name === name && change(contents)) };
}
function inOutput(change: (values: number[]) => void): Fault {
  return overwrite('out', contents => {
    const values = [...contents];
    change(values);
    contents.set(values);
  });
}

const faults: readonly (readonly [what: string, op: OpName, fault: Fault])[] = [
  ['a scale that is off by 1e-4', 'pagedAttention', instead('pagedAttention', op => ({ scale: op.scale * 1.0001 }))],
  [
    'a window of one position more',
    'pagedAttention',
    instead('pagedAttention', op => ({ window: op.window && op.window + 1 })),
  ],
  ['no soft cap', 'pagedAttention', instead('pagedAttention', () => ({ softCap: 0 }))],
  [
    'the wrong gelu',
    'linear',
    instead('linear', op => ({ activation: op.activation === 'gelu' ? 'geluTanh' : op.activation })),
  ],
  ['columns shifted by one', 'linear', instead('linear', op => ({ outColumn: Math.max(0, op.outColumn - 1) }))],
  ['pairs of the other layout', 'rope', instead('rope', op => ({ interleaved: !op.interleaved }))],
  [
    'norms of the other heads',
    'rope',
    instead('rope', op => (op.qNorm && op.kNorm ? { qNorm: op.kNorm, kNorm: op.qNorm } : {})),
  ],
  ['an epsilon that is a hundredth', 'ropeKvWrite', instead('ropeKvWrite', op => (op.qNorm ? { normEps: 0.01 } : {}))],
  ['fused pairs of the other layout', 'ropeKvWrite', instead('ropeKvWrite', op => ({ interleaved: !op.interleaved }))],
  ['values where keys belong', 'ropeKvWrite', instead('ropeKvWrite', op => ({ kCache: op.vCache, vCache: op.kCache }))],
  [
    'the wrong gate',
    'gatedLinear',
    instead('gatedLinear', op => ({ activation: op.activation === 'silu' ? 'gelu' : op.activation })),
  ],
  ['shares of the chosen alone', 'moeRoute', instead('moeRoute', op => ({ normalize: !op.normalize }))],
  ['experts one off', 'groupedLinear', instead('groupedLinear', op => ({ firstExpert: op.firstExpert + 1 }))],
  [
    'slices of adapters exchanged',
    'loraLinear',
    instead('loraLinear', op => ({ sliceColumns: [...op.sliceColumns].reverse() })),
  ],
  ['a position offset left out', 'embed', instead('embed', () => ({ offset: 0 }))],
  ['a part of the table one row off', 'embed', instead('embed', op => ({ firstRow: op.firstRow && op.firstRow - 1 }))],
  ['no epsilon', 'layerNorm', instead('layerNorm', () => ({ eps: 0 }))],
  ['a block size that is half', 'prepareInputs', instead('prepareInputs', op => ({ blockSize: op.blockSize / 2 }))],
  ['one element off by a thousandth', 'rmsNorm', inOutput(values => void values.splice(5, 1, values[5]! * 1.001))],
  ['one element NaN', 'add', inOutput(values => void values.splice(3, 1, Number.NaN))],
  [
    'all elements one place further',
    'gatherRows',
    inOutput(values => values.splice(0, values.length, values.at(-1)!, ...values.slice(0, -1))),
  ],
  ['a row too many', 'gatedActivation', inOutput(values => void values.splice(-1, 1, 1))],
  ['a write before its output', 'logProbs', overwrite('guard.before.logprobs', contents => contents.fill(7, -1))],
  ['a write to an input', 'argmax', overwrite('samples', contents => contents.fill(9, 0, 1))],
  [
    'a tie that goes to the higher id',
    'argmax',
    overwrite('sampled', contents => contents.fill(contents[0]! + 1, 0, 1)),
  ],
];

test.each(faults)('%s in %s', async (_, op, fault) => {
  const oracle = await openTestReference();
  const device = breakDevice(await openTestReference(), fault);
  const report = await runCrosscheck({ oracle, devices: [{ name: 'broken', device }], ops: [op], quick: true });
  expect(report.failed).toBeGreaterThan(0);
  const [failure] = report.failures;
  expect(failure!.message).toMatch(/expected|overwritten|written/);
  expect(failure!.replay).toBe(`quire crosscheck --op ${op} --case ${failure!.index} --devices reference,broken`);
});

test('the same device without a fault passes', async () => {
  const device = breakDevice(await openTestReference(), {});
  const report = await runCrosscheck({
    oracle: await openTestReference(),
    devices: [{ name: 'whole', device }],
    ops: ['rope', 'embed'],
    quick: true,
  });
  expect(report.failures).toEqual([]);
  expect(report.cases).toBeGreaterThan(50);
});

test('a device is never compared with itself', async () => {
  const oracle = await openTestReference();
  await expect(runCrosscheck({ oracle, devices: [{ name: 'reference', device: oracle }] })).rejects.toThrow(
    /with itself/,
  );
});
