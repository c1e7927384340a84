import { afterEach, describe, expect, it, vi } from 'vitest';

const module = '../../../packages/core/src/device/reference/macrotask.ts';

describe('nextMacrotask', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
    vi.resetModules();
  });

  /** Callbacks come in order, one per macrotask, after the code that asked for them. */
  async function expectMacrotasks(): Promise<void> {
    const { nextMacrotask } = await import(module);
    const events: string[] = [];
    const done = new Promise<void>(resolve => {
      nextMacrotask(() => {
        events.push('first');
        queueMicrotask(() => events.push('microtask'));
      });
      nextMacrotask(() => {
        events.push('second');
        resolve();
      });
    });
    events.push('asked');
    await Promise.resolve().then(() => events.push('promise'));
    await done;
    expect(events).toEqual(['asked', 'promise', 'first', 'microtask', 'second']);
  }

  it('uses setImmediate where there is one', expectMacrotasks);

  it('uses a message channel elsewhere', async () => {
    const channels: MessageChannel[] = [];
    const Original = MessageChannel;
    vi.resetModules();
    vi.stubGlobal('setImmediate', undefined);
    vi.stubGlobal(
      'MessageChannel',
      class extends Original {
        constructor() {
          super();
          channels.push(this as MessageChannel);
        }
      },
    );
    await expectMacrotasks();
    expect(channels).toHaveLength(1);
    for (const { port1 } of channels) port1.close();
  });
});
