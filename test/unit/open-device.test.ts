import { beforeEach, expect, test, vi } from 'vitest';
import { openDevice } from '../../packages/server/src/node/open-device.ts';

/** Opens nothing, and remembers what it was asked for. */
const { openCudaDevice } = vi.hoisted(() => ({ openCudaDevice: vi.fn(async (_: Record<string, unknown>) => ({})) }));
vi.mock('@quire/backend-cuda', () => ({ openCudaDevice, openCudaEmuDevice: openCudaDevice }));

beforeEach(() => openCudaDevice.mockClear());

test('an engine argument for the device reaches it, and what is not asked for is left to it', async () => {
  await openDevice('cuda', { batchInvariant: true, enforceEager: true });
  await openDevice('cuda', { batchInvariant: false });
  await openDevice('cuda');
  expect(openCudaDevice.mock.calls.map(([options]) => options)).toEqual([
    { graphs: false, batchInvariant: true },
    { graphs: true },
    { graphs: true },
  ]);
});
