/** Every op on every required device against the oracle. QUIRE_CONFORMANCE=full runs all cases instead of the quick set. */

import { shaderVariants, variantEnables, variantName, type WebGpuDevice } from '@quire/backend-webgpu';
import { dawn, type NodeWebGpuOptions } from '@quire/backend-webgpu/node';
import { conformanceCases, formatTable, runCrosscheck } from '@quire/conformance';
import { DeviceError, type OpName, type Program, type QuantDType, quantDTypes } from '@quire/core/contract';
import { opNames } from '@quire/core/program';
import { expect, test } from 'vitest';
import { openTestReference, openTestWebGpu } from '../support/devices.ts';

const full = process.env.QUIRE_CONFORMANCE === 'full';
/** Ops whose kernels share a row among lanes, and so differ between adapters. */
const laneOps: readonly OpName[] = [
  'rmsNorm',
  'layerNorm',
  'linear',
  'gatedLinear',
  'groupedLinear',
  'loraLinear',
  'rope',
  'ropeKvWrite',
  'pagedAttention',
  'normColumns',
];
const dispatched = new Set<string>();
/** The only things that WebGPU does not offer: WGSL computes in f32, and devices cannot reach one another. */
const NOT_OFFERED =
  /^\w+ does not offer (activations in (f16|bf16)|kv in bf16) |^(vocabParallelEmbed|allReduce|allGather|send|recv|broadcast) is not offered: /;

async function crosscheck(device: WebGpuDevice, ops: readonly OpName[], name = 'webgpu', cases?: readonly number[]) {
  const report = await runCrosscheck({
    oracle: await openTestReference(),
    devices: [{ name, device }],
    ops,
    quick: !full,
    ...(cases !== undefined && { cases }),
  });
  for (const variant of device.dispatchedVariants()) dispatched.add(variant);
  console.log(formatTable(report));
  expect(report.failures).toEqual([]);
  expect(report.ops.map(({ op }) => op)).toEqual(ops);
  const missing = report.ops.flatMap(({ reasons }) => reasons.filter(reason => !NOT_OFFERED.test(reason)));
  expect(missing).toEqual([]);
  return report;
}

test('every op, as the adapter is best used', async () => {
  const report = await crosscheck(await openTestWebGpu(), opNames);
  expect(report.cases).toBeGreaterThanOrEqual(full ? 1500 : 800);
});

/** Ways to share a row among invocations, with the fragment that each is about; the device's own choice may mix them. */
const sharings: readonly (readonly [what: string, fragment: string, options: NodeWebGpuOptions])[] = [
  ['one invocation has a row to itself', 'lanes_one', { lanes: 'one' }],
  ['the lanes of a subgroup share a row', 'lanes_subgroup', { lanes: 'subgroup' }],
  ['the lanes of a subgroup have columns to themselves', 'columns_rows', { lanes: 'columns' }],
  [
    'a workgroup shares a row, without optional features, at the default limits',
    'lanes_workgroup',
    { lanes: 'workgroup', features: 'none' },
  ],
];

/** Ops with a kernel of the fragment that no test before has run. */
function opsLeft(fragment: string): OpName[] {
  const left = shaderVariants().filter(
    variant =>
      (Object.values(variant.fragments) as string[]).includes(fragment) && !dispatched.has(variantName(variant)),
  );
  const stems = new Set(left.map(({ shader }) => shader.split('/')[0]));
  return laneOps.filter(op => stems.has(op.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)));
}

test.each(sharings)('%s', async (_, fragment, options) => {
  const ops = opsLeft(fragment);
  // None where it is the adapter's own choice; the last test tells what nobody ran.
  if (ops.length === 0) return;
  await crosscheck(await openTestWebGpu(options), ops, `webgpu ${Object.values(options).join(' ')}`);
});

/** Numbers of an op's cases over weights of these dtypes. */
function casesOver(op: OpName, dtypes: readonly QuantDType[]): number[] {
  const isOver = ({ tensors }: Program) => Object.values(tensors).some(({ dtype }) => dtypes.some(d => d === dtype));
  const cases = conformanceCases().filter(testCase => testCase.op === op && isOver(testCase.program));
  return cases.map(({ index }) => index);
}

test.each([
  ['subgroup', quantDTypes, {}],
  // A kernel of each kind.
  ['workgroup', ['q8', 'q4_32', 'q4_32z'], { features: 'none' }],
] as const)('the lanes of a %s share sums of integers, for weights in few bits', async (kind, dtypes, options) => {
  const device = await openTestWebGpu({ lanes: 'integers', ...options });
  for (const op of ['linear', 'gatedLinear'] as const) {
    await crosscheck(device, [op], `webgpu integers ${kind}`, casesOver(op, dtypes));
  }
});

test('limits forced small: parts fit where the whole is refused', async () => {
  const device = await openTestWebGpu({ maxTensorBytes: 40_000 });
  const whole = { name: 'head', dtype: 'f32', shape: [128, 100], usage: 'weight' } as const;
  expect(() => device.createTensor(whole)).toThrow(DeviceError);
  const report = await runCrosscheck({
    oracle: await openTestReference(),
    devices: [{ name: 'webgpu', device }],
    ops: ['linear', 'embed'],
    quick: true,
  });
  const tooLarge = report.failures.filter(({ message }) => /maxTensorBytes|the device's limit/.test(message ?? ''));
  expect(report.failures).toEqual(tooLarge);
  expect(tooLarge.length).toBeGreaterThan(0);
  const split = /rows=\S+\+|N=\d+\+/;
  expect(tooLarge.filter(({ name }) => split.test(name))).toEqual([]);
  expect(report.cases).toBeGreaterThan(tooLarge.length + 100);
});

test('the kernels behind write and transfer', async () => {
  const device = await openTestWebGpu();
  // A 16-bit write that starts in the middle of a word.
  const tensor = device.createTensor({ name: 'halves', dtype: 'f16', shape: [9], usage: 'weight' });
  device.write(tensor, Uint16Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9]));
  device.write(tensor, Uint16Array.of(70, 80, 90), 3);
  const halves = new Uint16Array(9);
  await device.read(tensor, 0, halves);
  expect([...halves]).toEqual([1, 2, 3, 70, 80, 90, 7, 8, 9]);

  const cache = device.createTensor({ name: 'cache', dtype: 'f32', shape: [3, 1, 2, 2], usage: 'kvCache' });
  device.write(
    cache,
    Float32Array.from({ length: 12 }, (_, i) => i),
  );
  await device.transfer(Int32Array.of(2, 0), Int32Array.of(5, 6), 'toHost');
  await device.transfer(Int32Array.of(1, 2), Int32Array.of(5, 6), 'toDevice');
  const blocks = new Float32Array(12);
  await device.read(cache, 0, blocks);
  expect([...blocks]).toEqual([0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3]);
  for (const name of ['device/patch_word', 'device/move_blocks']) dispatched.add(name);
});

test('every variant of every kernel has run', async () => {
  const adapter = await (await dawn([])).requestAdapter();
  const offered = (extension: string) => adapter!.features.has(extension === 'f16' ? 'shader-f16' : extension);
  const needed = shaderVariants().filter(variant => variantEnables(variant).every(offered));
  expect(needed.map(variantName).filter(name => !dispatched.has(name))).toEqual([]);
  expect(needed.length).toBeGreaterThan(40);
});
