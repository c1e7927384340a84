/** The CUDA backend as a Device: order, memory, errors, the end. Kernels are checked elsewhere. */
import { readFileSync } from 'node:fs';
import { AddonUnavailableError, type CudaDevice, loadEmulator, openCudaEmuDevice } from '@quire/backend-cuda';
import { type Device, DeviceError, DeviceLostError } from '@quire/core/contract';
import { openReferenceDevice } from '@quire/core/reference';
import { describe, expect, it } from 'vitest';
import { openTestCudaEmu } from '../support/devices.ts';
import { createTensor, floatTensor, noSizes, openCounter, openSlow, readFloats, usedBytes } from './fixtures.ts';

describe('the queue', async () => {
  const device = await openTestCudaEmu();

  it('runs writes, submits and reads in the order of their calls', async () => {
    const { total, executable } = await openCounter(device);
    const step = [{ executable, sizes: noSizes }];
    const before = readFloats(device, total);
    device.submit(step);
    const once = readFloats(device, total);
    device.submit(step, 3);
    device.submit([...step, ...step]);
    const sixTimes = readFloats(device, total);
    device.write(total, Float32Array.of(10, 20), 1);
    device.submit(step);
    expect(await before).toEqual([0, 0, 0, 0]);
    expect(await once).toEqual([1, 1, 1, 1]);
    expect(await sixTimes).toEqual([6, 6, 6, 6]);
    expect(await readFloats(device, total)).toEqual([7, 11, 21, 7]);
    expect(executable.opCounts()).toEqual({ add: 7 });
  });

  it('copies what is written before write returns', async () => {
    const tensor = createTensor(device, 'x', [1, 3]);
    const data = Float32Array.of(1, 2, 3);
    device.write(tensor, data);
    data.fill(9);
    expect(await readFloats(device, tensor)).toEqual([1, 2, 3]);
  });

  it('reads parts, into the part of an array that was passed', async () => {
    const tensor = floatTensor(device, 'x', [1, 2, 3, 4, 5]);
    const into = new Float32Array(6);
    await device.read(tensor, 2, into.subarray(1, 4));
    expect([...into]).toEqual([0, 3, 4, 5, 0, 0]);
  });

  it('leaves the event loop at least 1,000 turns in a step of 100 ms', async () => {
    const slow = await openSlow(device, 15);
    let running = true;
    let turns = 0;
    const turn = () => {
      turns++;
      if (running) setImmediate(turn);
    };
    const [started, waited] = [performance.now(), waitedForProcessor()];
    device.submit([{ executable: slow, sizes: noSizes }]);
    setImmediate(turn);
    await device.synchronize();
    running = false;
    const milliseconds = performance.now() - started;
    expect(milliseconds).toBeGreaterThan(100);
    const available = milliseconds - (waitedForProcessor() - waited);
    expect(turns).toBeGreaterThan(1000 * (available / 100));
  });

  it('profiles every op and counts it', async () => {
    const { executable } = await openCounter(device);
    expect(executable.opCounts()).toEqual({});
    expect(await executable.profile(noSizes)).toEqual([{ index: 0, op: 'add', microseconds: expect.any(Number) }]);
    expect(executable.opCounts()).toEqual({ add: 1 });
  });

  it('uploads in pieces beside other work, with pinned memory for a few', async () => {
    const MIB = 2 ** 20;
    const tensor = createTensor(device, 'weights', [20, MIB / 4]);
    const { total, executable } = await openCounter(device);
    async function* chunks() {
      for (const [i, length] of [7 * MIB, 100, 9 * MIB - 100, 4 * MIB].entries()) {
        device.submit([{ executable, sizes: noSizes }]);
        yield new Uint8Array(length).fill(i + 1);
      }
    }
    await device.upload(tensor, chunks());
    const bytes = new Uint8Array((await readFloats(device, tensor)).length * 4);
    await device.read(tensor, 0, new Float32Array(bytes.buffer));
    const at = (offset: number) => bytes[offset];
    expect([at(0), at(7 * MIB - 1), at(7 * MIB), at(7 * MIB + 99), at(7 * MIB + 100)]).toEqual([1, 1, 2, 2, 3]);
    expect([at(16 * MIB - 1), at(16 * MIB), at(20 * MIB - 1)]).toEqual([3, 4, 4]);
    expect(await readFloats(device, total)).toEqual([4, 4, 4, 4]);
    tensor.dispose();
  });

  it('refuses uploads of another length', async () => {
    const tensor = createTensor(device, 'short', [1, 4]);
    async function* chunks(length: number) {
      yield new Uint8Array(length);
    }
    await expect(device.upload(tensor, chunks(15))).rejects.toThrow('found 15 bytes, expected 16');
    await expect(device.upload(tensor, chunks(17))).rejects.toThrow('found more than 16 bytes, expected 16');
  });
});

describe('memory', async () => {
  const device = await openTestCudaEmu({ maxTensorBytes: 2 ** 31 });

  it('is zero at first, and goes back on dispose', async () => {
    const [allocated, used] = [device.allocatedBytes(), usedBytes(device)];
    const tensor = createTensor(device, 'x', [100, 100]);
    expect(device.allocatedBytes() - allocated).toBe(40_000);
    expect(usedBytes(device) - used).toBe(40_000);
    expect(new Set(await readFloats(device, tensor))).toEqual(new Set([0]));
    tensor.dispose();
    tensor.dispose();
    await device.synchronize();
    expect([device.allocatedBytes(), usedBytes(device)]).toEqual([allocated, used]);
  });

  it('is refused when it is exhausted, and the device goes on', async () => {
    const { total } = device.info.memory!;
    const shape = [Math.floor(total / 4 / 2), 1];
    const half = createTensor(device, 'half', shape);
    const attempt = () => createTensor(device, 'whole', [total / 4, 1]);
    expect(attempt).toThrow(DeviceError);
    expect(attempt).toThrow(`allocating ${total} bytes`);
    half.dispose();
    // The memory of a tensor that was disposed of a moment ago is waited for.
    createTensor(device, 'again', shape).dispose();
    expect(await readFloats(device, floatTensor(device, 'x', [5]))).toEqual([5]);
  });

  it('is refused above the limit', async () => {
    const small = await openTestCudaEmu({ maxTensorBytes: 64 });
    expect(() => createTensor(small, 'large', [17])).toThrow('found 68 bytes, expected at most 64 (maxTensorBytes)');
  });

  it('of a program is its arenas and workspace, freed with it', async () => {
    const before = device.allocatedBytes();
    const { total, one, executable } = await openCounter(device);
    executable.dispose();
    executable.dispose();
    total.dispose();
    one.dispose();
    expect(device.allocatedBytes()).toBe(before);
  });
});

describe('misuse', async () => {
  const device = await openTestCudaEmu();

  it('of disposed tensors and executables is an error at once', async () => {
    const { total, one, executable } = await openCounter(device);
    const steps = [{ executable, sizes: noSizes }];
    one.dispose();
    expect(() => device.submit(steps)).toThrow('program counter: found tensor one disposed, expected a live one');
    executable.dispose();
    expect(() => device.submit(steps)).toThrow('program counter: found a disposed executable');
    total.dispose();
    await expect(readFloats(device, total)).rejects.toThrow('read of tensor total: it was disposed of');
    expect(() => device.write(total, Float32Array.of(1))).toThrow('write of tensor total: it was disposed of');
  });

  it('of ranges, dtypes and sizes is an error at once', async () => {
    const { total, executable } = await openCounter(device);
    expect(() => device.write(total, Float32Array.of(1, 2), 3)).toThrow('found elements 3 to 5, expected at most 4');
    expect(() => device.write(total, new Uint16Array(2))).toThrow('found elements of 2 bytes, expected 4 (f32)');
    expect(() => device.submit([{ executable, sizes: { ...noSizes, tokens: 2 } }])).toThrow('tokens = 2');
    expect(() => device.submit([], 0)).toThrow('found times 0');
  });

  it('of things of other devices is an error at once', async () => {
    const other: Device = await openReferenceDevice();
    const foreign = floatTensor(other, 'foreign', [1]);
    expect(() => device.write(foreign, Float32Array.of(1))).toThrow('another device');
    const { executable } = await openCounter(other);
    expect(() => device.submit([{ executable, sizes: noSizes }])).toThrow('another device');
  });
});

describe('the end', () => {
  async function withWork(device: CudaDevice) {
    const { total, executable } = await openCounter(device);
    const slow = await openSlow(device, 4);
    device.submit([{ executable: slow, sizes: noSizes }], 1000);
    return {
      total,
      executable,
      pending: [readFloats(device, total), device.synchronize(), executable.profile(noSizes)],
    };
  }

  it('leaves queued work out, rejects what is pending, frees everything, and is no loss', async () => {
    const watcher = await openCudaEmuDevice();
    const used = usedBytes(watcher);
    const device = await openCudaEmuDevice();
    const { total, executable, pending } = await withWork(device);
    const settled = Promise.allSettled(pending);
    const started = performance.now();
    await Promise.all([device.dispose(), device.dispose()]);
    // All of it would take half a minute, on a machine that does nothing else.
    expect(performance.now() - started).toBeLessThan(20_000);
    for (const result of await settled) {
      expect(result).toMatchObject({ status: 'rejected', reason: { name: 'DeviceLostError' } });
    }
    expect(device.allocatedBytes()).toBe(0);
    expect(usedBytes(watcher)).toBe(used);
    device.submit([{ executable, sizes: noSizes }]);
    device.write(total, new Float32Array(4));
    total.dispose();
    expect(() => createTensor(device, 'late', [1])).toThrow(DeviceLostError);
    expect(device.info.memory).toBeNull();
    const race = await Promise.race([device.lost, new Promise(resolve => setTimeout(resolve, 20, 'not lost'))]);
    expect(race).toBe('not lost');
    await device.dispose();
    await watcher.dispose();
  });

  it('keeps the event loop free', async () => {
    const device = await openCudaEmuDevice();
    const { pending } = await withWork(device);
    const settled = Promise.allSettled(pending);
    let turns = 0;
    const disposing = device.dispose().then(() => turns);
    const turn = () => {
      turns++;
      if (turns < 1e6) setImmediate(turn);
    };
    setImmediate(turn);
    expect(await disposing).toBeGreaterThan(0);
    turns = 1e6;
    await settled;
  });
});

it('says what it is', async () => {
  const device = await openTestCudaEmu({ chip: { smCount: 3 } });
  expect(device.info).toMatchObject({
    kind: 'cuda-emu',
    name: 'CUDA emulator',
    capabilities: { hostTier: true, batchInvariant: true, software: true },
  });
  expect(loadEmulator().probe()).toMatchObject({ deviceCount: 8, errorCode: 0 });
  expect(new AddonUnavailableError('x')).toBeInstanceOf(Error);
});

/** Milliseconds for which this thread could have run and others had the processors, as far as the kernel tells. */
function waitedForProcessor(): number {
  try {
    const [, nanoseconds] = readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ');
    return Number(nanoseconds) / 1e6;
  } catch {
    return 0;
  }
}
