/** The engine in a process of its own gives what it gives in this one, also when it is killed. */
import type { SamplingParams } from '@quire/core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { OpenedEngine } from '../../packages/server/src/serve/open-engine.ts';
import { build } from './build.ts';
import { collectDeltas, openInProcess, openProcess } from './engine-process-fixture.ts';

beforeAll(build, 120_000);
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
    const { engine, numStarted } = await open();
    const outputs = runAll(engine);
    for (let kills = 0; kills < 3; kills++) {
      const before = engine.stats().generationTokens;
      while (engine.stats().generationTokens < before + 20) await new Promise(resolve => setTimeout(resolve, 5));
      process.kill(engine.pid!, 'SIGKILL');
    }
    expect(await outputs).toEqual(await expected());
    expect(numStarted()).toBe(4);
    expect(engine.stats().numRecoveries).toBe(3);
  });
});
