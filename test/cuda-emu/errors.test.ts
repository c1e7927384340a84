/** Errors of the CUDA runtime, injected one by one: passing ones pass, sticky ones end the device, and a new one can be opened. */
import { type CudaDevice, loadEmulator, openCudaEmuDevice } from '@quire/backend-cuda';
import { DeviceError, DeviceLostError } from '@quire/core/contract';
import { afterEach, describe, expect, it } from 'vitest';
import { createTensor, noSizes, openCounter, readFloats } from './fixtures.ts';

const OUT_OF_MEMORY = 2;
const ILLEGAL_ADDRESS = 700;
const LAUNCH_FAILURE = 719;
const NEVER = -1;

const emulator = loadEmulator();
const devices: CudaDevice[] = [];

async function open(): Promise<CudaDevice> {
  const device = await openCudaEmuDevice();
  devices.push(device);
  return device;
}

afterEach(async () => {
  emulator.injectError(0, NEVER);
  await Promise.all(devices.splice(0).map(device => device.dispose()));
  emulator.reset(0);
});

describe('a passing error', () => {
  it('of memory is tried again once, and then refuses the tensor', async () => {
    const device = await open();
    await device.synchronize();
    // Call 0 selects the device, call 1 allocates.
    emulator.injectError(OUT_OF_MEMORY, 1);
    expect(await readFloats(device, createTensor(device, 'x', [1, 1]))).toEqual([0]);
  });

  it('of an op rejects the next read or synchronize, once, and names the op', async () => {
    const device = await open();
    const { total, executable } = await openCounter(device);
    const step = [{ executable, sizes: noSizes }];
    await device.synchronize();
    emulator.injectError(OUT_OF_MEMORY, 0);
    device.submit(step, 5);
    await expect(readFloats(device, total)).rejects.toMatchObject({ name: 'DeviceError', op: 'add' });
    // The list was not repeated, and the device goes on.
    expect(await readFloats(device, total)).toEqual([0, 0, 0, 0]);
    device.submit(step);
    await device.synchronize();
    expect(await readFloats(device, total)).toEqual([1, 1, 1, 1]);
  });

  it('of a submit does not reach an upload', async () => {
    const device = await open();
    const { executable } = await openCounter(device);
    const tensor = createTensor(device, 'weights', [4]);
    await device.synchronize();
    emulator.injectError(OUT_OF_MEMORY, 0);
    device.submit([{ executable, sizes: noSizes }]);
    async function* chunks() {
      yield new Uint8Array(16);
    }
    await device.upload(tensor, chunks());
    await expect(device.synchronize()).rejects.toThrow('add failed: cudaErrorMemoryAllocation');
  });

  it('of a transfer is that transfer’s own', async () => {
    const device = await open();
    createTensor(device, 'cache', [2, 1, 1, 4], { usage: 'kvCache' });
    await device.synchronize();
    const blocks = Int32Array.of(1);
    emulator.injectError(OUT_OF_MEMORY, 2);
    await expect(device.transfer(blocks, blocks, 'toHost')).rejects.toThrow(DeviceError);
    await device.synchronize();
    await device.transfer(blocks, blocks, 'toHost');
  });
});

describe.each([ILLEGAL_ADDRESS, LAUNCH_FAILURE])('the sticky error %i', code => {
  it('rejects everything that is pending, reports the loss, and silences the device', async () => {
    const device = await open();
    const { total, executable } = await openCounter(device);
    const step = [{ executable, sizes: noSizes }];
    await device.synchronize();
    const before = readFloats(device, total);
    await before;
    emulator.injectError(code, 0);
    device.submit(step);
    const pending = [
      readFloats(device, total),
      device.synchronize(),
      executable.profile(noSizes),
      readFloats(device, total),
    ];
    for (const result of await Promise.allSettled(pending)) {
      expect(result).toMatchObject({ status: 'rejected', reason: expect.any(DeviceLostError) });
    }
    expect((await device.lost).message).toMatch(/lost: .*cudaError(IllegalAddress|LaunchFailure)/);
    const runs = executable.opCounts();
    device.submit(step);
    device.write(total, new Float32Array(4));
    expect(executable.opCounts()).toEqual(runs);
    await expect(device.synchronize()).rejects.toBeInstanceOf(DeviceLostError);
    expect(() => createTensor(device, 'late', [1])).toThrow(DeviceLostError);
    expect(device.info.memory).toBeNull();
    await device.dispose();
    expect(device.allocatedBytes()).toBe(0);
  });

  it('is reported without anybody waiting', async () => {
    const device = await open();
    const { executable } = await openCounter(device);
    await device.synchronize();
    emulator.injectError(code, 0);
    device.submit([{ executable, sizes: noSizes }]);
    expect(await device.lost).toBeInstanceOf(DeviceLostError);
  });

  it('is over in a new context, which is opened when nobody uses the old one', async () => {
    const device = await open();
    await device.synchronize();
    emulator.injectError(code, 0);
    await expect(device.synchronize()).rejects.toBeInstanceOf(DeviceLostError);
    await expect(open()).rejects.toThrow('Dispose of every device of this process and open it again');
    await device.dispose();
    const next = await open();
    const { total, executable } = await openCounter(next);
    next.submit([{ executable, sizes: noSizes }], 2);
    expect(await readFloats(next, total)).toEqual([2, 2, 2, 2]);
  });
});

/** Any call may be the one that fails: a small life of a device, with the error at the k-th call of the runtime. */
it.each([OUT_OF_MEMORY, ILLEGAL_ADDRESS, LAUNCH_FAILURE])(
  'the error %i at every call in turn breaks nothing',
  async code => {
    let failures = 0;
    for (let call = 0; call < 120; call++) {
      emulator.injectError(code, call);
      failures += await liveAndDie();
      emulator.injectError(0, NEVER);
      emulator.reset(0);
    }
    expect(failures).toBeGreaterThan(20);
    // The chip holds nothing of all these devices.
    const device = await open();
    expect(device.info.memory!.free).toBe(device.info.memory!.total);
  },
);

/** 1 when an error was seen: an error of a device, and nothing else. */
async function liveAndDie(): Promise<number> {
  let device: CudaDevice | undefined;
  try {
    device = await openCudaEmuDevice();
    const cache = createTensor(device, 'cache', [2, 1, 1, 4], { usage: 'kvCache' });
    const { total, executable } = await openCounter(device);
    device.submit([{ executable, sizes: noSizes }], 3);
    const read = readFloats(device, total);
    const moved = device.transfer(Int32Array.of(1), Int32Array.of(0), 'toHost');
    const results = await Promise.allSettled([read, moved, device.synchronize()]);
    cache.dispose();
    executable.dispose();
    const failed = results.filter(result => result.status === 'rejected');
    for (const { reason } of failed) expect(reason).toBeInstanceOf(DeviceError);
    if (failed.length === 0) expect(await read).toEqual([3, 3, 3, 3]);
    return failed.length > 0 ? 1 : 0;
  } catch (error) {
    expect(error).toBeInstanceOf(DeviceError);
    return 1;
  } finally {
    await device?.dispose();
  }
}
