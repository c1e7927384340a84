/** Requests modelled on published advisories, beside a stream that must not notice. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type HostileCase, hostileCases } from './hostile-cases.ts';
import { rawRequest } from './raw-socket.ts';
import { startTinyServer, type TinyServer } from './tiny-server.ts';

let tiny: TinyServer;
beforeAll(async () => {
  tiny = await startTinyServer();
});
afterAll(() => tiny.server.close(0));

/** Hostile requests that share the turns of the loop which the stream leaves. */
const AT_ONCE = 8;

/** The text of a long stream. Its bytes but for the id and the time, which are new each time. */
async function story(): Promise<string> {
  const response = await fetch(`${tiny.origin}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      prompt: 'Once upon a time',
      seed: 5,
      temperature: 0.8,
      max_tokens: 200,
      ignore_eos: true,
      stream: true,
    }),
  });
  const text = await response.text();
  expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
  return text.replaceAll(/"id":"[^"]*"/g, '"id"').replaceAll(/"created":\d+/g, '"created"');
}

/** What was generated: chunks are cut anew when the machine is slow. */
const said = (stream: string) =>
  Array.from(stream.matchAll(/"text":("(?:[^"\\]|\\.)*")/g), ([, text]) => JSON.parse(text!) as string).join('');

it(`${hostileCases.length} hostile requests are answered as they must be, and a stream beside them is the same`, async () => {
  expect(hostileCases.length).toBeGreaterThan(200);
  const alone = said(await story());
  expect(alone.length).toBeGreaterThan(300);
  const wrong: string[] = [];
  let beside = story();
  let isOver = false;
  const streams: string[] = [];
  const note = (stream: string) => {
    streams.push(said(stream));
    isOver = true;
  };
  beside.then(note, note);
  const send = async ({ name, parts, status }: HostileCase) => {
    const answer = await rawRequest(tiny.server.port, ...parts);
    if (!status.includes(answer.status)) wrong.push(`${name}: ${answer.status} ${answer.body.slice(0, 200)}`);
  };
  for (let first = 0; first < hostileCases.length; first += AT_ONCE) {
    await Promise.all(hostileCases.slice(first, first + AT_ONCE).map(send));
    if (!isOver) continue;
    isOver = false;
    beside = story();
    beside.then(note, note);
  }
  await beside;
  expect(wrong).toEqual([]);
  for (const stream of streams) expect(stream).toBe(alone);
  expect(streams.length).toBeGreaterThan(0);
  expect((await fetch(`${tiny.origin}/health`)).status).toBe(200);
  expect(said(await story())).toBe(alone);
});
