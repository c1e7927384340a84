import { crosscheckModel } from '@quire/conformance';
import type { Bindings, Device, Op, Program, StepSizes } from '@quire/core/contract';
import { ProgramBuilder } from '@quire/core/program';
import { expect, test } from 'vitest';
import { openTestReference, openTestWebGpu } from '../support/devices.ts';
import { breakDevice, type Fault } from './src/broken-device.ts';

const WIDTH = 24;
const sizes: StepSizes = {
  tokens: 5,
  sequences: 0,
  decodeSequences: 0,
  samples: 0,
  blocksPerSequence: 0,
  maxQueryTokens: 0,
  deltaSegments: 0,
};

/** Two residual blocks whose sums are written in place, as in a decoder. */
function blocks(): Program {
  const builder = new ProgramBuilder('blocks', { ...sizes, tokens: 8 });
  builder.external('ids', 'u32', ['tokens']);
  builder.external('table', 'f16', [10, WIDTH]);
  builder.external('weight', 'f32', [WIDTH, WIDTH]);
  builder.external('norm', 'f32', [WIDTH]);
  for (const name of ['residual', 'hidden', 'projected', 'last']) builder.temporary(name, 'f32', ['tokens', WIDTH]);
  const norm = {
    op: 'rmsNorm',
    weight: 'norm',
    out: 'hidden',
    residual: 'residual',
    sum: 'residual',
    eps: 1e-5,
  } as const;
  builder.add({ op: 'embed', ids: 'ids', table: 'table', out: 'residual', offset: 0, firstRow: 0 });
  builder.add({ op: 'linear', x: 'residual', weight: 'weight', out: 'projected', activation: 'none', outColumn: 0 });
  builder.add({ ...norm, x: 'projected' });
  builder.add({ op: 'linear', x: 'hidden', weight: 'weight', out: 'projected', activation: 'silu', outColumn: 0 });
  builder.add({ ...norm, x: 'projected' });
  builder.add({ op: 'linear', x: 'hidden', weight: 'weight', out: 'last', activation: 'none', outColumn: 0 });
  return builder.build();
}

function bind(device: Device): Bindings {
  const create = (name: string, dtype: 'f16' | 'f32' | 'u32', shape: number[]) =>
    device.createTensor({ name, dtype, shape, usage: 'weight' });
  const bindings = {
    ids: create('ids', 'u32', [8]),
    table: create('table', 'f16', [10, WIDTH]),
    weight: create('weight', 'f32', [WIDTH, WIDTH]),
    norm: create('norm', 'f32', [WIDTH]),
  };
  device.write(bindings.ids, Uint32Array.of(3, 1, 4, 1, 5, 9, 2, 6));
  // Halves between 1 and 2, and weights of both signs.
  device.write(
    bindings.table,
    Uint16Array.from({ length: 10 * WIDTH }, (_, i) => 0x3c00 + ((i * 37) % 1024)),
  );
  device.write(
    bindings.weight,
    Float32Array.from({ length: WIDTH * WIDTH }, (_, i) => Math.sin(i) / 3),
  );
  device.write(bindings.norm, new Float32Array(WIDTH).fill(1));
  return bindings;
}

async function check(checked: Device) {
  const oracle = await openTestReference();
  const devices = [
    { name: 'reference', device: oracle, bindings: bind(oracle) },
    { name: 'checked', device: checked, bindings: bind(checked) },
  ] as const;
  return crosscheckModel({ program: blocks(), sizes, devices });
}

/** The op at an index of the program, changed. */
function faultAt(index: number, change: (op: Op) => Op): Fault {
  let seen = -1;
  return { kernel: op => (++seen === index ? change(op) : op) };
}

test('agrees on WebGPU, tensor by tensor', async () => {
  const report = await check(await openTestWebGpu());
  expect(report.first).toBeUndefined();
  expect(report.tensors.map(({ opIndex, tensor }) => `${opIndex} ${tensor}`)).toContain('2 residual@2');
  expect(report.tensors.some(({ worst }) => worst > 0)).toBe(true);
});

test.each([
  [1, 'projected'],
  [2, 'hidden'],
  [3, 'projected@3'],
  [5, 'last'],
])('names op %i, which is broken, and the tensor %s', async (index, tensor) => {
  const broken = breakDevice(
    await openTestReference(),
    faultAt(index, op =>
      op.op === 'rmsNorm' ? { ...op, eps: 0.01 } : op.op === 'linear' ? { ...op, activation: 'relu' } : op,
    ),
  );
  const { first } = await check(broken);
  expect(first).toMatchObject({ opIndex: index, tensor });
});
