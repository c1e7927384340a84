/** /health follows the engine, /live does not. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { App } from '../../packages/server/src/app/app.ts';
import { createApp } from '../../packages/server/src/app/create-app.ts';
import { build } from './build.ts';
import { type OpenProcess, openProcess } from './engine-process-fixture.ts';

let opened: OpenProcess;
let app: App;
beforeAll(async () => {
  await build();
  opened = await openProcess([], {}, { hungMs: 1_500 });
  app = createApp({ engine: opened.engine, tokenizer: opened.engine.tokenizer }, { modelNames: ['tiny'] });
}, 200_000);
afterAll(() => opened?.engine.dispose());

const status = async (path: string) => (await app.fetch(new Request(`http://localhost${path}`))).status;

async function untilReady(): Promise<void> {
  while ((await status('/health')) !== 200) await sleep(20);
}

it('an engine that hangs is not ready within two seconds, and is again when it goes on', async () => {
  await untilReady();
  process.kill(opened.engine.pid!, 'SIGSTOP');
  await sleep(2_000);
  expect([await status('/health'), await status('/ping'), await status('/live')]).toEqual([503, 503, 200]);
  process.kill(opened.engine.pid!, 'SIGCONT');
  await untilReady();
}, 60_000);

it('an engine that is killed is not ready within two seconds, and its successor is', async () => {
  await untilReady();
  const { pid } = opened.engine;
  const killed = performance.now();
  process.kill(pid!, 'SIGKILL');
  while ((await status('/health')) === 200) await sleep(10);
  expect(performance.now() - killed).toBeLessThan(2_000);
  expect(await status('/live')).toBe(200);
  await untilReady();
  expect(opened.engine.pid).not.toBe(pid);
}, 120_000);
