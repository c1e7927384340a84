/** Random bodies on every route: no answer is a 5xx, none takes long, and every refusal names its field. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type FuzzCase, fuzzCase, routes } from './fuzz-bodies.ts';
import { ownSeconds } from './own-seconds.ts';
import { openTinyApp, type TinyApp } from './tiny-app.ts';

// `npm run fuzz:server` sets more runs; a failure tells the seed and the run that replay it.
const runs = Number(process.env.FUZZ_RUNS ?? 400);
const first = Number(process.env.FUZZ_FIRST ?? 0);
const seed = Number(process.env.FUZZ_SEED ?? 1);
/** Stops after so long, and tells where to go on. */
const seconds = Number(process.env.FUZZ_SECONDS ?? Number.POSITIVE_INFINITY);
const TOLD_EVERY = 1000;
/** Of this process's own time: others may have the machine. */
const MAX_CPU_MILLISECONDS = 2000;
/** See ownSeconds. */
const MAX_SECONDS = 60;
/** What is wrong with a body as a whole has no field. */
const bodyCodes = ['invalid_json', 'invalid_utf8', 'json_too_deep', 'body_too_large'];

let tiny: TinyApp;
beforeAll(async () => {
  tiny = await openTinyApp();
});
afterAll(() => tiny.close());

async function hang(signal: AbortSignal): Promise<never> {
  await ownSeconds(MAX_SECONDS, signal);
  throw new Error('no answer');
}

async function answer({ path, body }: FuzzCase): Promise<{ status: number; text: string }> {
  const response = await tiny.post(path, body);
  return { status: response.status, text: await response.text() };
}

function check(status: number, text: string): void {
  if (status === 200) {
    if (text.startsWith('data: ')) expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
    if (text.startsWith('event: ')) expect(text).toMatch(/(message_stop|response\.(completed|incomplete))/);
    return;
  }
  expect([400, 404, 413]).toContain(status);
  const { error } = JSON.parse(text) as { error: { message: string; param: string | null; code: string | null } };
  expect(error.message).not.toBe('');
  if (!bodyCodes.includes(error.code ?? '')) expect(error.param).toEqual(expect.stringMatching(/./));
}

it(`${runs} random bodies`, async () => {
  const statuses = new Map<number, number>();
  let slowest = 0;
  const began = performance.now();
  const cpuBegan = process.cpuUsage();
  const cpuSeconds = () => {
    const { user, system } = process.cpuUsage(cpuBegan);
    return (user + system) / 1e6;
  };
  let run = first;
  for (; run < first + runs && performance.now() - began < seconds * 1000; run++) {
    if (run > first && (run - first) % TOLD_EVERY === 0) {
      console.info(`to go on from here: FUZZ_FIRST=${run}; ${cpuSeconds().toFixed(0)} s of CPU so far`);
    }
    const fuzz = fuzzCase(seed, run);
    const before = process.cpuUsage();
    const answered = new AbortController();
    try {
      const { status, text } = await Promise.race([answer(fuzz), hang(answered.signal)]);
      check(status, text);
      const { user, system } = process.cpuUsage(before);
      slowest = Math.max(slowest, (user + system) / 1000);
      expect((user + system) / 1000).toBeLessThan(MAX_CPU_MILLISECONDS);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    } catch (cause) {
      const body = typeof fuzz.body === 'string' ? fuzz.body : new TextDecoder().decode(fuzz.body);
      throw new Error(`FUZZ_SEED=${seed} FUZZ_FIRST=${run} FUZZ_RUNS=1: ${fuzz.path} ${body}`, { cause });
    } finally {
      answered.abort();
    }
  }
  const told = `${run - first} bodies in ${cpuSeconds().toFixed(1)} s of CPU, slowest ${Math.round(slowest)} ms`;
  console.info('statuses', Object.fromEntries(statuses), told);
  if (run < first + runs) console.info(`out of time; to go on: FUZZ_FIRST=${run} FUZZ_RUNS=${first + runs - run}`);
  else if (runs >= 400) expect(statuses.get(200)).toBeGreaterThan(runs / 20);
  // The server is as it was.
  for (const [path, { body, limit }] of Object.entries(routes)) {
    const right = { ...body, ...(limit === null ? {} : { [limit]: 1 }) };
    expect([path, (await answer({ path, body: JSON.stringify(right) })).status]).toEqual([path, 200]);
  }
  expect(tiny.app.context.admission.admitted).toBe(0);
}, 36_000_000);
