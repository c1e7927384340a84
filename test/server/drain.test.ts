/**
 * SIGTERM at random moments under streams: each ends whole or with an error that says so, and the process ends with 0 in time.
 * QUIRE_DRAINS says how often: `npm run test:drains` does it 200 times. QUIRE_DRAINS_FIRST is where it begins, and
 * QUIRE_DRAINS_SECONDS how long it goes on; it then tells where it stopped.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { build } from './build.ts';
import { ownSeconds } from './own-seconds.ts';
import { RawClient, rawPost } from './raw-socket.ts';
import { endAll, serve } from './served-process.ts';

const drains = Number(process.env.QUIRE_DRAINS ?? 2);
const first = Number(process.env.QUIRE_DRAINS_FIRST ?? 1);
const seconds = Number(process.env.QUIRE_DRAINS_SECONDS ?? Number.POSITIVE_INFINITY);
const STREAMS = 8;

beforeAll(build);
afterEach(endAll);

/** The same sequence for the same seed (Lehmer's generator). */
function randomFrom(seed: number): () => number {
  let state = (seed * 2_654_435_761) % 2_147_483_647 || 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

type Outcome = 'whole' | 'ended with an error' | 'refused' | 'unanswered' | 'truncated';

/** A stream that has begun and just stops would be taken for a short answer. */
function outcomeOf({ received }: RawClient): Outcome {
  if (received === '') return 'unanswered';
  if (/^HTTP\/1\.1 503/.test(received)) return 'refused';
  if (received.includes('data: [DONE]')) return received.includes('"finish_reason":"length"') ? 'whole' : 'truncated';
  return received.includes('"code":"shutting_down"') ? 'ended with an error' : 'truncated';
}

const request = (maxTokens: number) =>
  rawPost(
    '/v1/completions',
    JSON.stringify({ prompt: 'Once', max_tokens: maxTokens, ignore_eos: true, temperature: 0, stream: true }),
  );

async function drain(seed: number): Promise<Outcome[]> {
  const random = randomFrom(seed);
  const graceSeconds = random() < 0.5 ? 0.1 : 60;
  const { child, port, exit } = await serve('--shutdown-timeout', String(graceSeconds), '--log-level', 'silent');
  const clients = Array.from({ length: STREAMS }, () =>
    new RawClient(port).send(...request(1 + Math.floor(random() * 60))),
  );
  if (random() < 0.8) await clients[0]!.until('"text"');
  await sleep(random() * 400);
  child.kill('SIGTERM');
  const late = new RawClient(port).send(...request(4));
  const ended = new AbortController();
  const overdue = ownSeconds(graceSeconds + 30, ended.signal).then(() => 'overdue');
  expect(await Promise.race([exit, overdue]), `seed ${seed}`).toEqual({ code: 0, signal: null });
  ended.abort();
  await Promise.all([...clients, late].map(client => client.closed));
  const outcomes = clients.map(outcomeOf);
  // With time to finish, all that began do; and what was sent before the signal is answered.
  if (graceSeconds === 60) {
    expect(outcomes, `seed ${seed}`).not.toContain('ended with an error');
    expect(outcomes, `seed ${seed}`).not.toContain('unanswered');
  }
  return [...outcomes, outcomeOf(late)];
}

it(`${drains} times, nothing ends without saying that it did not finish`, {
  timeout: 60_000 + drains * 60_000,
}, async () => {
  const counts = new Map<Outcome, number>();
  const began = performance.now();
  let seed = first;
  for (; seed < first + drains && performance.now() - began < seconds * 1000; seed++) {
    for (const outcome of await drain(seed)) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
    expect(counts.get('truncated') ?? 0, `seed ${seed}`).toBe(0);
  }
  if (process.env.QUIRE_DRAINS !== undefined)
    process.stdout.write(`drains ${first} to ${seed - 1}: ${JSON.stringify([...counts])}\n`);
});
