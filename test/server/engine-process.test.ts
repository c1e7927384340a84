/** The engine in a process of its own gives what it gives in this one, also when it is killed. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SamplingParams } from '@quire/core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { OpenedEngine } from '../../packages/server/src/serve/open-engine.ts';
import { until } from '../support/until.ts';
import { build } from './build.ts';
import { collectDeltas, openInProcess, openProcess } from './engine-process-fixture.ts';

beforeAll(build);
const opened: { dispose(): Promise<void> }[] = [];
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.dispose();
});

async function open(...options: Parameters<typeof openProcess>) {
  const process = await openProcess(...options);
  opened.push(process.engine);
  return process;
}

const requests: [string, string, SamplingParams][] = [
  ['greedy', 'Once upon a time', { temperature: 0, maxTokens: 24 }],
  ['seeded', 'The little', { seed: 5, maxTokens: 24, presencePenalty: 0.5, repetitionPenalty: 1.2, minTokens: 8 }],
  ['seeded by its number', 'A cat', { maxTokens: 16 }],
  ['three completions', 'Tom had', { seed: 8, n: 3, maxTokens: 12 }],
  ['the best two of four', 'Lily and', { seed: 9, n: 2, bestOf: 4, maxTokens: 8 }],
  ['log-probabilities', 'One day', { seed: 2, maxTokens: 10, logprobs: 3, promptLogprobs: 2 }],
  ['a stop string', 'Once upon', { temperature: 0, maxTokens: 40, stop: ['.', 'the'] }],
  ['JSON', 'Answer:', { seed: 4, maxTokens: 30, structuredOutputs: { regex: '[a-f]{3}-[0-9]{4}' } }],
  ['beams', 'There was', { useBeamSearch: true, temperature: 0, n: 2, bestOf: 3, maxTokens: 8, logprobs: 1 }],
];

type Engine = Parameters<typeof collectDeltas>[0];
const runAll = (engine: Engine) =>
  Promise.all(requests.map(([, prompt, params]) => collectDeltas(engine, prompt, params)));

let undisturbed: ReturnType<typeof runAll> | null = null;
/** What the requests give in this process. */
function expected() {
  undisturbed ??= (async () => {
    const engine: OpenedEngine = await openInProcess();
    const outputs = await runAll(engine.loaded.asyncLLM);
    await engine.close();
    return outputs;
  })();
  return undisturbed;
}

describe('an engine in a process', () => {
  it('gives what one in this process gives', async () => {
    const { engine } = await open();
    expect(await runAll(engine)).toEqual(await expected());
    const { finished, numRequestsRunning, numRequestsWaiting, generationTokens } = engine.stats();
    expect(finished).toEqual({ stop: expect.any(Number), length: expect.any(Number), abort: 0, error: 0 });
    expect([numRequestsRunning, numRequestsWaiting]).toEqual([0, 0]);
    expect(generationTokens).toBeGreaterThan(100);
  });

  it('killed under load, it is replaced, and nothing is lost', async () => {
    // Each stands still at some step until it is killed: none is done before, however late this process looks.
    const { engine, numStarted } = await open(Array(3).fill({ stopAtStep: 4 }));
    const outputs = runAll(engine);
    for (let kills = 0; kills < 3; kills++) {
      const before = engine.stats().generationTokens;
      await until(() => numStarted() === kills + 1 && engine.stats().generationTokens > before);
      process.kill(engine.pid!, 'SIGKILL');
      await until(() => engine.stats().numRecoveries === kills + 1);
    }
    expect(await outputs).toEqual(await expected());
    expect(numStarted()).toBe(4);
    expect(engine.stats().numRecoveries).toBe(3);
  });

  it('killed between two frames, or within one, it is replaced', async () => {
    const crashes = [{ frame: 0 }, { frame: 5, bytes: 7 }, { frame: 4 }, { frame: 6, bytes: 40 }];
    const { engine, numStarted } = await open(crashes);
    // The request with a grammar waits for it when the first engines end, and is not to blame.
    expect(await runAll(engine)).toEqual(await expected());
    expect(numStarted()).toBe(crashes.length + 1);
    expect(engine.stats().numRecoveries).toBe(crashes.length);
  });

  it('nonsense instead of a frame, silence, no step although its thread lives: it is replaced', async () => {
    const crashes = [{ garbage: 3 }, { hang: 4 }, { stall: 4 }];
    const { engine, numStarted } = await open(crashes, {}, { silenceMs: 5000 });
    expect(await runAll(engine)).toEqual(await expected());
    expect(numStarted()).toBe(crashes.length + 1);
  });

  it('a request that ends it again and again fails alone', async () => {
    const { engine, numStarted } = await open([
      { killer: 'bad' },
      { killer: 'bad' },
      { killer: 'bad' },
      { killer: 'bad' },
    ]);
    const params = { temperature: 0, maxTokens: 24 };
    const outputs = runAll(engine);
    const bad = collectDeltas(
      { generate: (p, s, o) => engine.generate(p, s, { ...o, requestId: 'bad' }) },
      'Bad',
      params,
    );
    expect((await bad).failure).toMatch(
      /^The request ended the engine 3 times or more, the last time because it was ended by SIGKILL/,
    );
    expect(await outputs).toEqual(await expected());
    // One more where it was tried beside a request that had just been acquitted.
    expect([4, 5]).toContain(numStarted());
    expect(engine.stats().finished.error).toBe(1);
  });

  it('pauses, sleeps and wakes, and one in its place does too', async () => {
    const { engine } = await open();
    engine.pause();
    const [, prompt, params] = requests[0]!;
    const outputs = collectDeltas(engine, prompt, params);
    const pause = () => new Promise(resolve => setTimeout(resolve, 500));
    await pause();
    expect(engine.stats().generationTokens).toBe(0);
    process.kill(engine.pid!, 'SIGKILL');
    await until(() => engine.stats().numRecoveries === 1 && engine.isOpen);
    await pause();
    expect(engine.stats().generationTokens).toBe(0);
    await engine.sleep({ discardWeights: true });
    expect(engine.isSleeping).toBe(true);
    expect(() => engine.resume()).toThrow('asleep');
    process.kill(engine.pid!, 'SIGKILL');
    await until(() => engine.stats().numRecoveries === 2 && engine.isOpen);
    expect(engine.isSleeping).toBe(true);
    await engine.wakeUp();
    engine.resetPrefixCache();
    expect(await outputs).toEqual((await expected())[0]);
  });

  it('abort and dispose end requests, and no process is left', async () => {
    const { engine } = await open();
    const params = { temperature: 0, maxTokens: 200, ignoreEos: true };
    const first = engine.generate('Once', params, { requestId: 'a' });
    const second = engine.generate('Once', params);
    await first.next();
    engine.abort('a');
    let last: { finished: boolean; outputs: { finishReason: string | null }[] } | null = null;
    for await (const output of first) last = output;
    expect([last!.finished, last!.outputs[0]!.finishReason]).toEqual([true, 'abort']);
    const { pid } = engine;
    await Promise.all([
      engine.dispose(),
      expect(async () => {
        for await (const _ of second);
      }).rejects.toThrow('closed'),
    ]);
    expect(() => process.kill(pid!, 0)).toThrow('ESRCH');
    expect(() => engine.generate('Once')).toThrow('closed');
  });

  it('says what is wrong with a model or a device as one in this process does', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'quire-'));
    await expect(openProcess([], { model: folder })).rejects.toMatchObject({
      name: 'ModelFormatError',
      details: { file: 'config.json' },
    });
    await expect(openProcess([], {}, { device: 'nothing' })).rejects.toMatchObject({ name: 'ConfigError' });
    await expect(openProcess([{ atStart: true }])).rejects.toThrow(
      'The engine process ended while it started: it was ended by SIGKILL.',
    );
  });
});
