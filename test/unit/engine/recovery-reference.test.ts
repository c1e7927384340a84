import { type Device, DeviceError } from '@quire/core/contract';
import { openReferenceDevice } from '@quire/core/reference';
import { expect, test } from 'vitest';
import { tinyEngine, tinyRunner } from '../../support/tiny-engine.ts';
import { drain, prompt, tokensOf } from './helpers.ts';

const params = { maxTokens: 14, ignoreEos: true };

function add(engine: Awaited<ReturnType<typeof tinyEngine>>) {
  return [
    engine.add(prompt(9), { ...params, temperature: 0 }),
    engine.add(prompt(7, 3), { ...params, temperature: 0.9, seed: 5, n: 2 }),
    engine.add(prompt(11, 8), { ...params, useBeamSearch: true, n: 2 }),
  ];
}

test('over a device that is lost again and again, all kinds of requests give what they give in peace', async () => {
  const peaceful = await tinyEngine(await openReferenceDevice());
  const expected = add(peaceful);
  await drain(peaceful);
  await peaceful.dispose();

  const devices = [await openReferenceDevice()];
  const reopen = async () => {
    devices.push(await openReferenceDevice());
    return tinyRunner(devices.at(-1)!);
  };
  const engine = await tinyEngine(devices[0]!, {}, { reopen });
  const found = add(engine);
  for (let step = 1; engine.hasUnfinished; step++) {
    if (step % 4 === 0) (devices.at(-1) as { loseForTest?: (reason: string) => void }).loseForTest!('on purpose');
    await engine.step();
  }
  for (const [i, group] of found.entries()) {
    for (const index of group.sequences.keys()) expect(tokensOf(group, index)).toEqual(tokensOf(expected[i]!, index));
  }
  expect(engine.stats().numRecoveries).toBeGreaterThan(3);
  await engine.dispose();
  for (const device of devices) expect(device.allocatedBytes()).toBe(0);
});

test.each([1, 2, 5])('a submit that never reached the device, the %d-th, costs nothing', async nth => {
  const device = await openReferenceDevice();
  const peaceful = await tinyEngine(device);
  const expected = add(peaceful);
  await drain(peaceful);
  await peaceful.dispose();
  const engine = await tinyEngine(losingSubmit(device, nth));
  const found = add(engine);
  await drain(engine);
  for (const [i, group] of found.entries()) {
    for (const index of group.sequences.keys()) expect(tokensOf(group, index)).toEqual(tokensOf(expected[i]!, index));
  }
  expect(engine.stats().numRecoveries).toBe(1);
  await engine.dispose();
});

/** The device without its nth submit, which the next read reports. */
function losingSubmit(device: Device, nth: number): Device {
  let submits = 0;
  let isLost = false;
  return new Proxy(device, {
    get(target, key) {
      if (key === 'submit') {
        return (...args: Parameters<Device['submit']>) => {
          isLost ||= ++submits === nth;
          if (submits !== nth) target.submit(...args);
        };
      }
      if (key === 'read') {
        return async (...args: Parameters<Device['read']>) => {
          const fails = isLost;
          isLost = false;
          if (fails) throw new DeviceError('A submit was lost.');
          await target.read(...args);
        };
      }
      const value = Reflect.get(target, key);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

test.each([false, true])(
  'sleep frees the device but for what it keeps (weights discarded: %s)',
  async discardWeights => {
    const device = await openReferenceDevice();
    const reopen = () => tinyRunner(device);
    const engine = await tinyEngine(device, {}, { reopen });
    const awake = device.allocatedBytes();
    const group = engine.add(prompt(9), { ...params, temperature: 0 });
    for (let i = 0; i < 5; i++) await engine.step();
    await engine.sleep({ discardWeights });
    const asleep = device.allocatedBytes();
    if (discardWeights) expect(asleep).toBe(0);
    else expect(asleep).toBeGreaterThan(0);
    expect(asleep).toBeLessThan(awake / 2);
    await engine.wakeUp();
    await drain(engine);
    const peaceful = await tinyEngine(device);
    const expected = peaceful.add(prompt(9), { ...params, temperature: 0 });
    await drain(peaceful);
    expect(tokensOf(group)).toEqual(tokensOf(expected));
    await peaceful.dispose();
    await engine.sleep();
    await engine.dispose();
    expect(device.allocatedBytes()).toBe(0);
  },
);
