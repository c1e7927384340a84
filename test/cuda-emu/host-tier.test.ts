/** KV blocks in host memory and back, beside the compute queue. */
import type { Device, DeviceTensor } from '@quire/core/contract';
import { expect, it } from 'vitest';
import { openTestCudaEmu } from '../support/devices.ts';
import { createTensor, noSizes, openCounter, openSlow, readFloats } from './fixtures.ts';

const BLOCKS = 5;

/** A cache whose element i is `tag` * 1000 + i. */
function cache(device: Device, dtype: 'f32' | 'f16', width: number, tag: number): DeviceTensor {
  const shape = [BLOCKS, 1, 1, width];
  const tensor = createTensor(device, `cache ${tag}`, shape, { dtype, usage: 'kvCache' });
  device.write(tensor, contents(dtype, width, tag));
  return tensor;
}

function contents(dtype: 'f32' | 'f16', width: number, tag: number) {
  const values = Array.from({ length: BLOCKS * width }, (_, i) => tag * 1000 + i);
  return dtype === 'f32' ? Float32Array.from(values) : Uint16Array.from(values);
}

/** The first element of each block; the others must count up from it. */
async function blocksOf(device: Device, tensor: DeviceTensor): Promise<number[]> {
  const { dtype, shape } = tensor.spec;
  const width = shape[3]!;
  const into = dtype === 'f32' ? new Float32Array(BLOCKS * width) : new Uint16Array(BLOCKS * width);
  await device.read(tensor, 0, into);
  const firsts = Array.from({ length: BLOCKS }, (_, block) => into[block * width]!);
  expect([...into]).toEqual(firsts.flatMap(first => Array.from({ length: width }, (_, i) => first + i)));
  return firsts;
}

// Widths whose blocks move in units of 16, 4 and 2 bytes, together and alone.
it.each([[[64]], [[3]], [[5, 64]], [[1, 7, 8]]])(
  'moves blocks of caches of widths %j to host memory and back',
  async widths => {
    const device = await openTestCudaEmu({ chip: { smCount: 3, order: 'shuffled' } });
    const dtypes = widths.map(width => (width % 2 === 1 ? ('f16' as const) : ('f32' as const)));
    const caches = widths.map((width, i) => cache(device, dtypes[i]!, width, i + 1));
    const first = await Promise.all(caches.map(tensor => blocksOf(device, tensor)));
    await device.transfer(Int32Array.of(0, 2, 4), Int32Array.of(7, 0, 3), 'toHost');
    caches.forEach((tensor, i) => {
      device.write(tensor, contents(dtypes[i]!, widths[i]!, 30 + i));
    });
    const other = await Promise.all(caches.map(tensor => blocksOf(device, tensor)));
    await device.transfer(Int32Array.of(1, 0), Int32Array.of(7, 3), 'toDevice');
    for (const [i, tensor] of caches.entries()) {
      const [before, written] = [first[i]!, other[i]!];
      expect(await blocksOf(device, tensor)).toEqual([before[4], before[0], written[2], written[3], written[4]]);
    }
  },
);

it('moves codes of an odd number of bytes with their scales', async () => {
  const device = await openTestCudaEmu();
  const bytes = Uint8Array.from({ length: BLOCKS * 9 }, (_, i) => 255 - i);
  const codes = createTensor(device, 'codes', [BLOCKS, 1, 3, 3], { dtype: 'i8', usage: 'kvCache' });
  const scales = createTensor(device, 'scales', [BLOCKS, 1, 3], { usage: 'kvCache' });
  device.write(codes, bytes);
  device.write(
    scales,
    Float32Array.from({ length: BLOCKS * 3 }, (_, i) => i),
  );
  await device.transfer(Int32Array.of(1, 4), Int32Array.of(0, 1), 'toHost');
  await device.transfer(Int32Array.of(2, 0), Int32Array.of(0, 1), 'toDevice');
  const into = new Uint8Array(bytes.length);
  await device.read(codes, 0, into);
  const block = (i: number) => [...bytes.subarray(9 * i, 9 * i + 9)];
  expect([...into]).toEqual([4, 1, 1, 3, 4].flatMap(block));
  expect(await readFloats(device, scales)).toEqual([4, 1, 1, 3, 4].flatMap(i => [3 * i, 3 * i + 1, 3 * i + 2]));
});

it('sees what was queued before it, and lets later work go on', async () => {
  const device = await openTestCudaEmu();
  const tensor = cache(device, 'f32', 4, 1);
  const slow = await openSlow(device, 2);
  const { total, executable } = await openCounter(device);
  device.submit([{ executable: slow, sizes: noSizes }]);
  device.write(tensor, contents('f32', 4, 2));
  const moved = device.transfer(Int32Array.of(3), Int32Array.of(0), 'toHost');
  device.write(tensor, contents('f32', 4, 9));
  device.submit([{ executable, sizes: noSizes }]);
  await moved;
  await device.transfer(Int32Array.of(0), Int32Array.of(0), 'toDevice');
  expect(await blocksOf(device, tensor)).toEqual([2012, 9004, 9008, 9012, 9016]);
  expect(await readFloats(device, total)).toEqual([1, 1, 1, 1]);
});

it('refuses blocks that do not exist and slots that hold nothing', async () => {
  const device = await openTestCudaEmu();
  cache(device, 'f16', 4, 1);
  const move = (blocks: number[], slots: number[], direction: 'toHost' | 'toDevice') =>
    device.transfer(Int32Array.from(blocks), Int32Array.from(slots), direction);
  await expect(move([5], [0], 'toHost')).rejects.toThrow('found block 5, expected 0 .. 4 (cache 1)');
  await expect(move([-1], [0], 'toHost')).rejects.toThrow('found block -1');
  await expect(move([1], [9], 'toDevice')).rejects.toThrow('found host slot 9 empty');
  await expect(move([1, 2], [0], 'toHost')).rejects.toThrow('found 2 blocks and 1 host slots');
  await move([], [], 'toHost');
  await move([1], [9], 'toHost');
  // Another cache: a record of the old ones is no record of all.
  const late = cache(device, 'f16', 4, 2);
  await expect(move([1], [9], 'toDevice')).rejects.toThrow('found host slot 9 empty');
  await move([1], [9], 'toHost');
  late.dispose();
  await expect(move([1], [9], 'toDevice')).rejects.toThrow('found host slot 9 empty');
});
