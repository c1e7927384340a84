import {
  type Device,
  DeviceError,
  DeviceLostError,
  type DeviceTensor,
  type Op,
  type StepSizes,
} from '@quire/core/contract';
import { ProgramBuilder } from '@quire/core/program';
import { openReferenceDevice, type ReferenceDevice } from '@quire/core/reference';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { noSizes } from './run-op.ts';

const WIDTH = 4;
const sizes: StepSizes = { ...noSizes, tokens: 1 };

let device: ReferenceDevice;
beforeEach(async () => {
  device = await openReferenceDevice();
});
afterEach(() => device.dispose());

function tensor(on: Device, name: string, values?: number[]): DeviceTensor {
  const created = on.createTensor({ name, dtype: 'f32', shape: [1, values?.length ?? WIDTH], usage: 'state' });
  if (values !== undefined) on.write(created, Float32Array.from(values));
  return created;
}

async function values(from: DeviceTensor): Promise<number[]> {
  const into = new Float32Array(from.bytes / 4);
  await device.read(from, 0, into);
  return [...into];
}

/** total += step, through a temporary. */
function counterProgram() {
  const builder = new ProgramBuilder('counter', sizes);
  builder.external('total', 'f32', ['tokens', WIDTH]);
  builder.external('step', 'f32', ['tokens', WIDTH]);
  builder.temporary('sum', 'f32', ['tokens', WIDTH]);
  builder.temporary('nothing', 'f32', ['tokens', WIDTH]);
  builder.add({ op: 'add', a: 'total', b: 'step', out: 'sum' });
  builder.add({ op: 'embed', ids: builder.external('ids', 'u32', ['tokens']), table: builder.external('table', 'f32', [2, WIDTH]), out: 'nothing', offset: 0, firstRow: 0 }); // biome-ignore format: one op
  builder.add({ op: 'add', a: 'sum', b: 'nothing', out: 'total' });
  return builder.build();
}

async function counter(keepAll = false) {
  const total = tensor(device, 'total', [0, 10, 20, 30]);
  const step = tensor(device, 'step', [1, 1, 1, 1]);
  const ids = device.createTensor({ name: 'ids', dtype: 'u32', shape: [1], usage: 'state' });
  const table = device.createTensor({ name: 'table', dtype: 'f32', shape: [2, WIDTH], usage: 'weight' });
  const executable = await device.compile(counterProgram(), { total, step, ids, table }, { keepAll });
  return { total, step, executable };
}

/** A program that fails when its position is beyond the table. */
async function ropeStep() {
  const builder = new ProgramBuilder('rope', sizes);
  const op: Op = {
    op: 'rope',
    qkv: builder.external('qkv', 'f32', ['tokens', 6]),
    positions: builder.external('positions', 'u32', ['tokens']),
    table: builder.external('table', 'f32', [3, 2]),
    heads: 1,
    kvHeads: 1,
    headDim: 2,
    rotaryDim: 2,
    interleaved: false,
  };
  builder.add(op);
  const positions = device.createTensor({ name: 'positions', dtype: 'u32', shape: [1], usage: 'state' });
  const qkv = device.createTensor({ name: 'qkv', dtype: 'f32', shape: [1, 6], usage: 'state' });
  const table = device.createTensor({ name: 'table', dtype: 'f32', shape: [3, 2], usage: 'weight' });
  const executable = await device.compile(builder.build(), { qkv, positions, table });
  return { executable, positions, qkv };
}

describe('the queue', () => {
  it('orders writes, submits and reads as they were called', async () => {
    const { total, step, executable } = await counter();
    const before = values(total);
    device.submit([{ executable, sizes }]);
    const once = values(total);
    const data = Float32Array.of(5, 5, 5, 5);
    device.write(step, data);
    data.fill(1000); // write has copied
    device.submit([{ executable, sizes }], 3);
    const later = values(total);
    device.write(total, Float32Array.of(-1), 1);
    expect(await before).toEqual([0, 10, 20, 30]);
    expect(await once).toEqual([1, 11, 21, 31]);
    expect(await later).toEqual([16, 26, 36, 46]);
    expect(await values(total)).toEqual([16, -1, 36, 46]);
  });

  it('returns from submit before it runs, and gives timers their turn between steps', async () => {
    const { total, executable } = await counter();
    const steps = 50;
    const ticks: number[] = [];
    const tick = () => {
      ticks.push(executable.opCounts().add ?? 0);
      timer = setImmediate(tick);
    };
    let timer = setImmediate(tick);
    device.submit([{ executable, sizes }], steps);
    expect(executable.opCounts()).toEqual({});
    expect((await values(total))[0]).toBe(steps);
    clearImmediate(timer);
    expect(new Set(ticks).size).toBeGreaterThan(steps / 2);
    expect(executable.opCounts()).toEqual({ add: 2 * steps, embed: steps });
  });

  it('runs every executable of a list, in order', async () => {
    const [first, second] = [await counter(), await counter()];
    device.submit([
      { executable: first.executable, sizes },
      { executable: second.executable, sizes },
    ]);
    expect((await values(first.total))[0]).toBe(1);
    expect((await values(second.total))[0]).toBe(1);
  });

  it('rejects the next read with the error of a submit, which names the op, and goes on', async () => {
    const { executable, positions, qkv } = await ropeStep();
    const healthy = values(qkv);
    device.write(positions, Uint32Array.of(3));
    device.submit([{ executable, sizes }], 2);
    const failed = values(qkv);
    const next = values(qkv);
    await healthy;
    await expect(failed).rejects.toThrow('program rope, op 0 (rope): token 0 is at position 3, the table ends at 3.');
    await expect(failed).rejects.toMatchObject({ name: 'DeviceError', op: 'rope' });
    await next;
    device.submit([{ executable, sizes }]);
    await expect(device.synchronize()).rejects.toBeInstanceOf(DeviceError);
    device.write(positions, Uint32Array.of(2));
    device.submit([{ executable, sizes }]);
    await device.synchronize();
    expect(executable.opCounts()).toEqual({ rope: 1 });
  });

  it('times each op of a step', async () => {
    const { total, executable } = await counter();
    const timings = await executable.profile(sizes);
    expect(timings.map(({ index, op }) => [index, op])).toEqual([
      [0, 'add'],
      [1, 'embed'],
      [2, 'add'],
    ]);
    for (const { microseconds } of timings) expect(microseconds).toBeGreaterThanOrEqual(0);
    expect((await values(total))[0]).toBe(1);
  });
});

describe('memory', () => {
  it('counts tensors and arenas, and nothing after dispose', async () => {
    expect(device.allocatedBytes()).toBe(0);
    const { total, executable } = await counter();
    const tensors = 16 + 16 + 4 + 32;
    expect(device.allocatedBytes()).toBeGreaterThan(tensors);
    executable.dispose();
    executable.dispose();
    expect(device.allocatedBytes()).toBe(tensors);
    total.dispose();
    total.dispose();
    expect(device.allocatedBytes()).toBe(tensors - 16);
    await device.dispose();
    expect(device.allocatedBytes()).toBe(0);
  });

  it('counts the decoded copy of a 16-bit weight, and decodes again after a write', async () => {
    const builder = new ProgramBuilder('half', sizes);
    const [x, weight, out] = [
      builder.external('x', 'f32', ['tokens', 2]),
      builder.external('weight', 'f16', [1, 2]),
      builder.external('out', 'f32', ['tokens', 1]),
    ];
    builder.add({ op: 'linear', x, weight, out, activation: 'none', outColumn: 0 });
    const bindings = {
      x: tensor(device, 'x', [1, 1]),
      weight: device.createTensor({ name: 'weight', dtype: 'f16', shape: [1, 2], usage: 'weight' }),
      out: tensor(device, 'out', [0]),
    };
    const executable = await device.compile(builder.build(), bindings);
    const before = device.allocatedBytes();
    device.write(bindings.weight, Uint16Array.of(0x3c00, 0x4000)); // 1, 2
    device.submit([{ executable, sizes }]);
    expect(await values(bindings.out)).toEqual([3]);
    expect(device.allocatedBytes()).toBe(before + 8);
    device.write(bindings.weight, Uint16Array.of(0x4200), 1); // 3
    device.submit([{ executable, sizes }]);
    expect(await values(bindings.out)).toEqual([4]);
    bindings.weight.dispose();
    expect(device.allocatedBytes()).toBe(before - 4);
  });

  it('refuses tensors and temporaries above maxTensorBytes', async () => {
    const small = await openReferenceDevice({ maxTensorBytes: 16 });
    expect(() => tensor(small, 'large', [1, 2, 3, 4, 5])).toThrow('tensor large: found 20 bytes, expected at most 16');
    const builder = new ProgramBuilder('wide', { ...noSizes, tokens: 4 });
    const [ids, table] = [builder.external('ids', 'u32', ['tokens']), builder.external('table', 'f32', [1, 2])];
    const out = builder.temporary('out', 'f32', ['tokens', 2]);
    builder.add({ op: 'embed', ids, table, out, offset: 0, firstRow: 0 });
    const bindings = {
      ids: small.createTensor({ name: 'ids', dtype: 'u32', shape: [4], usage: 'state' }),
      table: tensor(small, 'table', [1, 2]),
    };
    const compiled = small.compile(builder.build(), bindings);
    await expect(compiled).rejects.toThrow('temporary out of program wide: found 32 bytes, expected at most 16');
    await expect(compiled).rejects.toBeInstanceOf(DeviceError);
    await small.dispose();
  });

  it('keeps every temporary readable with keepAll, and only then', async () => {
    const kept = await counter(true);
    device.submit([{ executable: kept.executable, sizes }]);
    expect(await values(kept.executable.tensor('sum'))).toEqual([1, 11, 21, 31]);
    expect(() => kept.executable.tensor('total')).toThrow('found no temporary of that name');
    const usual = await counter();
    expect(() => usual.executable.tensor('sum')).toThrow('found a program compiled without keepAll');
  });

  it('uploads chunks that cut elements, and refuses too few or too many bytes', async () => {
    const target = tensor(device, 'target');
    const bytes = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer);
    const chunks = async function* (...lengths: number[]) {
      let at = 0;
      for (const length of lengths) {
        yield bytes.slice(at, at + length);
        at += length;
      }
    };
    await device.upload(target, chunks(3, 6, 7));
    expect(await values(target)).toEqual([1, 2, 3, 4]);
    await expect(device.upload(target, chunks(3, 6))).rejects.toThrow('found 9 bytes, expected 16');
    const tooMany = async function* () {
      yield bytes;
      yield bytes;
    };
    await expect(device.upload(target, tooMany())).rejects.toThrow('expected 16');
  });

  it('refuses ranges, widths and tensors that do not fit', async () => {
    const target = tensor(device, 'target');
    expect(() => device.write(target, Float32Array.of(1), 4)).toThrow(
      'found elements 4 .. 5, expected a range within 0 .. 4',
    );
    expect(() => device.write(target, Uint16Array.of(1))).toThrow('expected elements of 4 bytes (f32)');
    await expect(device.read(target, -1, new Float32Array(1))).rejects.toThrow('found elements -1 .. 0');
    const other = await openReferenceDevice();
    const foreign = tensor(other, 'foreign');
    expect(() => device.write(foreign, Float32Array.of(1))).toThrow('found one of another device');
    target.dispose();
    await expect(device.read(target, 0, new Float32Array(1))).rejects.toThrow('found a disposed tensor');
    await other.dispose();
  });

  it('refuses submits of disposed programs, with disposed tensors, and with sizes beyond the maximum', async () => {
    const { executable, step } = await counter();
    expect(() => device.submit([{ executable, sizes: { ...sizes, tokens: 2 } }])).toThrow('tokens = 2');
    expect(() => device.submit([{ executable, sizes }], 0)).toThrow('found times 0');
    step.dispose();
    expect(() => device.submit([{ executable, sizes }])).toThrow('tensor step: found a disposed tensor');
    executable.dispose();
    expect(() => device.submit([{ executable, sizes }])).toThrow('found a disposed executable');
  });
});

describe('the host tier', () => {
  it('takes blocks of all caches to the host and back into other blocks', async () => {
    const shape = [3, 1, 2, 2];
    const k = device.createTensor({ name: 'k', dtype: 'f16', shape, usage: 'kvCache' });
    const v = device.createTensor({ name: 'v', dtype: 'f32', shape, usage: 'kvCache' });
    device.write(
      k,
      Uint16Array.from({ length: 12 }, (_, i) => i),
    );
    device.write(
      v,
      Float32Array.from({ length: 12 }, (_, i) => i),
    );
    await device.transfer(Int32Array.of(0, 2), Int32Array.of(7, 1), 'toHost');
    device.write(k, new Uint16Array(12));
    device.write(v, new Float32Array(12));
    await device.transfer(Int32Array.of(1, 0), Int32Array.of(7, 1), 'toDevice');
    const keys = new Uint16Array(12);
    await device.read(k, 0, keys);
    expect([...keys]).toEqual([8, 9, 10, 11, 0, 1, 2, 3, 0, 0, 0, 0]);
    expect(await values(v)).toEqual([8, 9, 10, 11, 0, 1, 2, 3, 0, 0, 0, 0]);
    await expect(device.transfer(Int32Array.of(1), Int32Array.of(9), 'toDevice')).rejects.toThrow('host slot 9 empty');
    await expect(device.transfer(Int32Array.of(3), Int32Array.of(0), 'toHost')).rejects.toThrow('expected 0 .. 2');
  });
});

describe('the end', () => {
  it('rejects what is pending when the device is disposed, and refuses what comes after', async () => {
    const { total, executable } = await counter();
    device.submit([{ executable, sizes }]);
    const pending = [values(total), device.synchronize(), executable.profile(sizes)];
    await device.dispose();
    for (const promise of pending) await expect(promise).rejects.toBeInstanceOf(DeviceLostError);
    await expect(values(total)).rejects.toBeInstanceOf(DeviceLostError);
    expect(() => tensor(device, 'late')).toThrow(DeviceLostError);
    device.submit([{ executable, sizes }]);
    device.write(total, new Float32Array(4));
    await new Promise(resolve => setImmediate(resolve));
    expect(executable.opCounts()).toEqual({});
    expect(device.allocatedBytes()).toBe(0);
  });

  it('resolves lost, rejects what is pending, and does nothing more', async () => {
    const { total, executable } = await counter();
    device.submit([{ executable, sizes }]);
    const pending = values(total);
    device.loseForTest('as a test asked');
    await expect(pending).rejects.toBeInstanceOf(DeviceLostError);
    expect((await device.lost).message).toContain('as a test asked');
    await expect(device.synchronize()).rejects.toBeInstanceOf(DeviceLostError);
    device.submit([{ executable, sizes }]);
    await device.dispose();
    expect(device.allocatedBytes()).toBe(0);
  });
});
