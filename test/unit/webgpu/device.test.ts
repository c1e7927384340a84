import { openWebGpuDevice } from '@quire/backend-webgpu';
import { dawn, openNodeWebGpuDevice } from '@quire/backend-webgpu/node';
import { type Device, DeviceError, DeviceLostError } from '@quire/core/contract';
import { ProgramBuilder } from '@quire/core/program';
import { describe, expect, it } from 'vitest';
import { dispatchGrid } from '../../../packages/backend-webgpu/src/grid.ts';
import { PipelineCache } from '../../../packages/backend-webgpu/src/pipelines.ts';
import { compileAccumulate, compileOp, floatTensor, noSizes, openWebGpu, openWithGpu, readFloats } from './fixtures.ts';

const one = { ...noSizes, tokens: 1 };

describe('the order of the queue', async () => {
  const device = await openWebGpu();

  it('keeps writes, submits and reads in call order', async () => {
    const { x, y, executable } = await compileAccumulate(device);
    const reads = [new Float32Array(4), new Float32Array(4), new Float32Array(4)];
    const submit = () => device.submit([{ executable, sizes: one }]);
    const waits = [];
    submit();
    waits.push(device.read(x, 0, reads[0]!));
    device.write(y, Float32Array.of(10, 10, 10, 10));
    submit();
    waits.push(device.read(x, 0, reads[1]!));
    device.write(x, Float32Array.of(0, 0, 0, 0));
    waits.push(device.read(x, 0, reads[2]!));
    await Promise.all(waits);
    expect(reads.map(into => into[0])).toEqual([1, 11, 0]);
  });

  it('copies what is written before write returns', async () => {
    const tensor = floatTensor(device, 'copied', [0, 0]);
    const data = Float32Array.of(1, 2);
    device.write(tensor, data);
    data.fill(9);
    expect(await readFloats(device, tensor)).toEqual([1, 2]);
  });

  it('repeats a list, each entry at its own sizes', async () => {
    const { x, executable } = await compileAccumulate(device, 3);
    const list = [
      { executable, sizes: { ...noSizes, tokens: 1 } },
      { executable, sizes: { ...noSizes, tokens: 3 } },
    ];
    device.submit(list, 5);
    const values = await readFloats(device, x);
    expect([values[0], values[4], values[8]]).toEqual([10, 5, 5]);
    expect(executable.opCounts()).toEqual({ add: 10 });
  });

  it('reads parts of several tensors in one turn', async () => {
    const tensors = [floatTensor(device, 'a', [1, 2, 3, 4]), floatTensor(device, 'b', [5, 6, 7, 8])];
    const into = [new Float32Array(2), new Float32Array(3)];
    await Promise.all([device.read(tensors[0]!, 1, into[0]!), device.read(tensors[1]!, 1, into[1]!)]);
    expect(into.map(values => [...values])).toEqual([
      [2, 3],
      [6, 7, 8],
    ]);
  });
});

describe('memory', async () => {
  const device = await openWebGpu();

  it('is zero at first, and counted until it is disposed of', async () => {
    const before = device.allocatedBytes();
    const tensor = device.createTensor({ name: 'zeros', dtype: 'u32', shape: [3, 5], usage: 'state' });
    expect(device.allocatedBytes() - before).toBeGreaterThanOrEqual(60);
    const into = new Uint32Array(15).fill(7);
    await device.read(tensor, 0, into);
    expect([...into]).toEqual(new Array(15).fill(0));
    const { executable, x, y } = await compileAccumulate(device);
    for (const owner of [executable, x, y, tensor, tensor]) owner.dispose();
    await device.synchronize();
    // Staging for reads and the slots of the sizes stay pooled.
    expect(device.allocatedBytes() - before).toBeLessThan(8192);
  });

  it('takes 16-bit elements at any place', async () => {
    const tensor = device.createTensor({ name: 'halves', dtype: 'f16', shape: [9], usage: 'state' });
    const expected = new Uint16Array(9);
    for (const [offset, length] of [
      [0, 9],
      [1, 1],
      [3, 2],
      [2, 5],
      [7, 2],
      [8, 1],
      [5, 3],
    ] as const) {
      const data = Uint16Array.from({ length }, (_, i) => 100 * offset + 10 * length + i + 0x8000);
      device.write(tensor, data, offset);
      expected.set(data, offset);
    }
    const into = new Uint16Array(9);
    await device.read(tensor, 0, into);
    expect([...into]).toEqual([...expected]);
    const part = new Uint16Array(3);
    await device.read(tensor, 5, part);
    expect([...part]).toEqual([...expected.subarray(5, 8)]);
  });

  it('is filled by uploads in chunks of any size', async () => {
    const bytes = Uint8Array.from({ length: 46 }, (_, i) => i + 1);
    const tensor = device.createTensor({ name: 'uploaded', dtype: 'bf16', shape: [23], usage: 'weight' });
    async function* chunks(...ends: number[]) {
      for (const [i, end] of ends.entries()) yield bytes.subarray(ends[i - 1] ?? 0, end);
    }
    await device.upload(tensor, chunks(1, 4, 5, 20, 43, 46));
    const into = new Uint16Array(23);
    await device.read(tensor, 0, into);
    expect([...new Uint8Array(into.buffer)]).toEqual([...bytes]);
    await expect(device.upload(tensor, chunks(20))).rejects.toThrow('found 20 bytes, expected 46');
    async function* tooMany() {
      yield bytes;
      yield bytes.subarray(0, 2);
    }
    await expect(device.upload(tensor, tooMany())).rejects.toThrow('found more than the 46 bytes');
  });

  it('is bounded by the limit, which an option lowers', async () => {
    const small = await openWebGpu({ maxTensorBytes: 1024 });
    const spec = { name: 'large', dtype: 'f32', usage: 'state' } as const;
    expect(small.info.limits.maxTensorBytes).toBe(1024);
    expect(() => small.createTensor({ ...spec, shape: [257] })).toThrow('tensor large: found 1028 bytes');
    small.createTensor({ ...spec, shape: [256] }).dispose();
  });

  it('is checked at the bounds of a tensor', async () => {
    const tensor = floatTensor(device, 'bounds', [1, 2, 3]);
    expect(() => device.write(tensor, new Float32Array(2), 2)).toThrow('elements 2 .. 4');
    expect(() => device.write(tensor, new Uint16Array(2))).toThrow('expected elements of 4 bytes');
    await expect(device.read(tensor, -1, new Float32Array(1))).rejects.toThrow(DeviceError);
  });
});

describe('programs', async () => {
  const device = await openWebGpu();

  async function compileChain(keepAll: boolean) {
    const builder = new ProgramBuilder('chain', { ...noSizes, tokens: 2 });
    builder.external('x', 'f32', ['tokens', 4]);
    builder.temporary('double', 'f32', ['tokens', 4]);
    builder.external('out', 'f32', ['tokens', 4]);
    builder.external('y', 'f32', ['tokens', 4]);
    builder.add({ op: 'add', a: 'x', b: 'y', out: 'double' });
    builder.add({ op: 'add', a: 'double', b: 'y', out: 'out' });
    const [x, y, out] = ['x', 'y', 'out'].map(name => floatTensor(device, name, [1, 2, 3, 4, 5, 6, 7, 8], [2, 4]));
    return device.compile(builder.build(), { x: x!, y: y!, out: out! }, { keepAll });
  }

  it('keep their temporaries only when asked to', async () => {
    const kept = await compileChain(true);
    device.submit([{ executable: kept, sizes: { ...noSizes, tokens: 2 } }]);
    expect(await readFloats(device, kept.tensor('double'))).toEqual([2, 4, 6, 8, 10, 12, 14, 16]);
    const plain = await compileChain(false);
    expect(() => plain.tensor('double')).toThrow('keepAll');
    expect(() => kept.tensor('out')).toThrow('expected a temporary');
  });

  it('run in grids that are folded at the limit of workgroups', async () => {
    const rows = 65_535 * 16 + 3;
    const { x, executable } = await compileAccumulate(device, rows);
    device.submit([{ executable, sizes: { ...noSizes, tokens: rows } }]);
    const values = new Float32Array(rows * 4);
    await device.read(x, 0, values);
    expect(values.findIndex(value => value !== 1)).toBe(-1);
    expect(dispatchGrid(0)).toBeUndefined();
    expect(dispatchGrid(65_535)).toEqual([65_535, 1]);
    expect(dispatchGrid(65_536)).toEqual([32_768, 2]);
  });

  it('time each of their ops', async () => {
    const executable = await compileChain(false);
    const timings = await executable.profile({ ...noSizes, tokens: 2 });
    expect(timings.map(({ index, op }) => [index, op])).toEqual([
      [0, 'add'],
      [1, 'add'],
    ]);
    for (const { microseconds } of timings) expect(microseconds).toBeGreaterThanOrEqual(0);
    expect(executable.opCounts()).toEqual({ add: 2 });
    expect(device.dispatchedVariants()).toContain('add');
  });

  it('time their ops without timestamps too', async () => {
    const plain = await openWebGpu({ features: 'none' });
    const { executable } = await compileAccumulate(plain);
    const timings = await executable.profile(one);
    expect(timings).toEqual([{ index: 0, op: 'add', microseconds: expect.any(Number) }]);
    expect(plain.info.limits.maxTensorBytes).toBe(128 * 2 ** 20);
  });
});

describe('errors', async () => {
  const device = await openWebGpu();

  it('of compile name the op', async () => {
    const cache = () => device.createTensor({ name: 'cache', dtype: 'f16', shape: [2, 1, 4, 3], usage: 'kvCache' });
    const qkv = floatTensor(device, 'qkv', new Array(9).fill(0));
    const slotMapping = device.createTensor({ name: 'slots', dtype: 'u32', shape: [1], usage: 'state' });
    const op = { op: 'kvWrite', qkv: 'qkv', slotMapping: 'slotMapping', kCache: 'kCache', vCache: 'vCache' } as const;
    const bindings = { qkv, slotMapping, kCache: cache(), vCache: cache() };
    const before = device.allocatedBytes();
    const compiling = compileOp(device, { ...op, heads: 1, kvHeads: 1, headDim: 3, blockSize: 4 }, bindings);
    await expect(compiling).rejects.toMatchObject({ name: 'DeviceError', op: 'kvWrite' });
    await expect(compiling).rejects.toThrow('headDim: found 3');
    expect(device.allocatedBytes()).toBe(before);
  });

  it('of a submit reject the next read or synchronize, once, and name the op', async () => {
    const { x, y, executable } = await compileAccumulate(device);
    y.dispose();
    device.submit([{ executable, sizes: one }]);
    await expect(readFloats(device, x)).rejects.toMatchObject({ name: 'DeviceError', op: 'add' });
    expect(await readFloats(device, x)).toEqual([0, 0, 0, 0]);
    device.submit([{ executable, sizes: one }]);
    await expect(device.synchronize()).rejects.toThrow('op 0 (add) uses "y", but tensor y was disposed of');
    await device.synchronize();
  });

  it('of a submit leave what was asked before', async () => {
    const { x, y, executable } = await compileAccumulate(device);
    const before = readFloats(device, x);
    y.dispose();
    device.submit([{ executable, sizes: one }]);
    expect(await before).toEqual([0, 0, 0, 0]);
    await expect(device.synchronize()).rejects.toThrow(DeviceError);
  });

  it('of shaders show the line', async () => {
    const gpu = await (await dawn(['backend=null'])).requestAdapter();
    const cache = new PipelineCache(await gpu!.requestDevice());
    const variant = { shader: 'add', fragments: {}, consts: { WORKGROUP: 0 } } as const;
    const compiling = cache.get(variant, 'add');
    await expect(compiling).rejects.toMatchObject({ name: 'DeviceError', op: 'add' });
    await expect(compiling).rejects.toThrow(
      /shader add does not compile: line \d+:\d+ [\s\S]*@workgroup_size\(WORKGROUP\)/,
    );
  });

  it('tell an adapter that computes nothing', async () => {
    await expect(openWebGpuDevice(await dawn(['backend=null']))).rejects.toThrow('null adapter');
    await expect(openNodeWebGpuDevice({ adapter: 'none such' })).rejects.toThrow('no adapter named none such');
  });

  it('of sizes are thrown at once', async () => {
    const { executable } = await compileAccumulate(device);
    expect(() => device.submit([{ executable, sizes: { ...noSizes, tokens: 2 } }])).toThrow('tokens = 2');
  });

  it('of other devices are told', async () => {
    const other = await openWebGpu();
    const foreign = floatTensor(other, 'foreign', [1]);
    expect(() => device.write(foreign, Float32Array.of(1))).toThrow('another device');
    const { executable } = await compileAccumulate(other);
    expect(() => device.submit([{ executable, sizes: one }])).toThrow('another device');
  });
});

describe('the end of a device', () => {
  async function pendingWork(device: Device) {
    const { x, executable } = await compileAccumulate(device);
    device.submit([{ executable, sizes: one }], 50);
    return { x, executable, pending: [readFloats(device, x), device.synchronize()] };
  }

  it('rejects everything that is pending when the GPU is lost, and later calls do nothing', async () => {
    const { device, gpuDevice } = await openWithGpu();
    const { x, executable, pending } = await pendingWork(device);
    gpuDevice.destroy();
    for (const wait of pending) await expect(wait).rejects.toBeInstanceOf(DeviceLostError);
    expect(await device.lost).toBeInstanceOf(DeviceLostError);
    device.submit([{ executable, sizes: one }]);
    device.write(x, new Float32Array(4));
    await expect(device.read(x, 0, new Float32Array(4))).rejects.toBeInstanceOf(DeviceLostError);
    expect(() => floatTensor(device, 'late', [1])).toThrow(DeviceLostError);
    await device.dispose();
    expect(device.allocatedBytes()).toBe(0);
  });

  it('frees everything on dispose, which is no loss', async () => {
    const { device } = await openWithGpu();
    const { pending } = await pendingWork(device);
    const settled = Promise.allSettled(pending);
    await device.dispose();
    for (const result of await settled)
      expect(result).toMatchObject({ status: 'rejected', reason: { name: 'DeviceLostError' } });
    expect(device.allocatedBytes()).toBe(0);
    const race = await Promise.race([device.lost, new Promise(resolve => setTimeout(resolve, 20, 'not lost'))]);
    expect(race).toBe('not lost');
    await device.dispose();
  });
});

describe('the host tier', async () => {
  const device = await openWebGpu();

  it('brings blocks of every cache back, to other places too', async () => {
    const shapes = [
      [4, 2, 2, 4],
      [4, 1, 2, 8],
    ];
    const caches = shapes.map((shape, i) =>
      device.createTensor({ name: `cache ${i}`, dtype: i === 0 ? 'f32' : 'f16', shape, usage: 'kvCache' }),
    );
    const first = Float32Array.from({ length: 64 }, (_, i) => i);
    const second = Uint16Array.from({ length: 64 }, (_, i) => i + 1000);
    device.write(caches[0]!, first);
    device.write(caches[1]!, second);
    await device.transfer(Int32Array.of(3, 1), Int32Array.of(7, 0), 'toHost');
    device.write(caches[0]!, new Float32Array(64));
    device.write(caches[1]!, new Uint16Array(64));
    await device.transfer(Int32Array.of(2, 1), Int32Array.of(7, 0), 'toDevice');
    const back = [new Float32Array(64), new Uint16Array(64)] as const;
    await Promise.all(caches.map((cache, i) => device.read(cache, 0, back[i]!)));
    expect([...back[0]]).toEqual([
      ...new Array(16).fill(0),
      ...first.subarray(16, 32),
      ...first.subarray(48),
      ...new Array(16).fill(0),
    ]);
    expect([...back[1]]).toEqual([
      ...new Array(16).fill(0),
      ...second.subarray(16, 32),
      ...second.subarray(48),
      ...new Array(16).fill(0),
    ]);
    await expect(device.transfer(Int32Array.of(1), Int32Array.of(5), 'toDevice')).rejects.toThrow('host slot 5');
    await expect(device.transfer(Int32Array.of(4), Int32Array.of(5), 'toHost')).rejects.toThrow('block 4');
    expect(device.dispatchedVariants()).toEqual(expect.arrayContaining(['device/move_blocks']));
  });
});
