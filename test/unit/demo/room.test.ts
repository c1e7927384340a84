/** A model from an address is refused before its weights are fetched, where the device has no room for it. */
import { parseEngineConfig } from '@quire/core';
import { type Device, DeviceError } from '@quire/core/contract';
import { openReferenceDevice } from '@quire/core/reference';
import { expect, it } from 'vitest';
import { checkRoom } from '../../../packages/demo/src/engine/room.ts';
import { nodeRuntime } from '../../../packages/server/src/index.ts';

const location = new URL('../../../models/tiny-llama', import.meta.url).pathname;
const config = parseEngineConfig({ model: 'tiny-llama', numGpuBlocksOverride: 64 });

/** A device of so many bytes. */
function small(device: Device, bytes: number): Device {
  return new Proxy(device, {
    get(target, name) {
      if (name === 'createTensor') {
        return (...[spec]: Parameters<Device['createTensor']>) => {
          const tensor = target.createTensor(spec);
          if (target.allocatedBytes() <= bytes) return tensor;
          tensor.dispose();
          throw new DeviceError('out of memory');
        };
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

it('takes what is needed for a moment, and says how much is missing', async () => {
  const source = await nodeRuntime.openSource(location, {});
  const device = await openReferenceDevice({ maxTensorBytes: 2 ** 20 });
  await checkRoom(source, config, small(device, 2 ** 26));
  expect(device.allocatedBytes()).toBe(0);
  await expect(checkRoom(source, config, small(device, 2 ** 23))).rejects.toThrow(
    /^The model needs \d+\.\d MiB on TypeScript.*: 4\.\d MiB of weights, .* of KV cache and .* \(out of memory\)\. Take a smaller model/,
  );
  await expect(checkRoom(source, config, device, 2 ** 22)).rejects.toThrow(/\(this machine has 4\.0 MiB\)/);
  expect(device.allocatedBytes()).toBe(0);
  await device.dispose();
  await source.close();
});
