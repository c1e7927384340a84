/** /health follows the engine, /live does not. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { App } from '../../packages/server/src/app/app.ts';
import { createApp } from '../../packages/server/src/app/create-app.ts';
import { until } from '../support/until.ts';
import { build } from './build.ts';
import { type OpenProcess, openProcess } from './engine-process-fixture.ts';

let opened: OpenProcess;
let app: App;
beforeAll(async () => {
  await build();
  opened = await openProcess([], {}, { hungMs: 1_500 });
  app = createApp({ engine: opened.engine, tokenizer: opened.engine.tokenizer }, { modelNames: ['tiny'] });
});
afterAll(() => opened?.engine.dispose());

const status = async (path: string) => (await app.fetch(new Request(`http://localhost${path}`))).status;

const isReady = async () => (await status('/health')) === 200;

/** 1.5 s and what a busy machine adds: far below the time after which an engine in software is taken for dead. */
const SOON_MS = 15_000;

it('an engine that hangs is not ready soon, and is again when it goes on', async () => {
  await until(isReady);
  const stopped = performance.now();
  process.kill(opened.engine.pid!, 'SIGSTOP');
  await until(async () => !(await isReady()));
  expect(performance.now() - stopped).toBeLessThan(SOON_MS);
  expect([await status('/health'), await status('/ping'), await status('/live')]).toEqual([503, 503, 200]);
  process.kill(opened.engine.pid!, 'SIGCONT');
  await until(isReady);
});

it('an engine that is killed is not ready soon, and its successor is', async () => {
  await until(isReady);
  const { pid } = opened.engine;
  const killed = performance.now();
  process.kill(pid!, 'SIGKILL');
  await until(async () => !(await isReady()));
  expect(performance.now() - killed).toBeLessThan(SOON_MS);
  expect(await status('/live')).toBe(200);
  await until(isReady);
  expect(opened.engine.pid).not.toBe(pid);
});
