/** The speeds that the demo tells, from the steps that it keeps. */
import type { StepTrace } from '@quire/core';
import { expect, it } from 'vitest';
import { Traces } from '../../../packages/demo/src/state/traces.ts';

/** A step every 100 ms that decodes 10 tokens; the engine has made 5,000 before. */
function traceOf(step: number, prefill = 0): StepTrace {
  const entry = { requestId: 'a', index: 0, start: 0 };
  return {
    step,
    time: 100 * step,
    milliseconds: 100,
    times: 1,
    batch: [
      { ...entry, numTokens: 1, phase: 'decode' },
      ...(prefill > 0 ? [{ ...entry, numTokens: prefill, phase: 'prefill' as const }] : []),
    ],
    sequences: [],
    pool: {
      blockSize: 16,
      refCounts: new Uint16Array(2),
      cached: new Uint8Array(2),
      filled: new Uint8Array(2),
      freeOrder: new Int32Array(0),
      written: new Int32Array(0),
      copies: new Int32Array(0),
    },
    counters: { preemptions: 0, prefixCacheQueries: 0, prefixCacheHits: 0, generationTokens: 5000 + 10 * step },
  };
}

it('counts the tokens of two seconds, and none from before the first step that is kept', () => {
  const traces = new Traces();
  expect(traces.rates()).toEqual({ decode: 0, prefill: 0 });
  traces.push(traceOf(1));
  expect(traces.rates()).toEqual({ decode: 0, prefill: 0 });
  expect(traces.interval(40)).toBe(null);
  for (let step = 2; step <= 100; step++) traces.push(traceOf(step, 6));
  expect(traces.rates()).toEqual({ decode: 100, prefill: 60 });
  expect(traces.interval(40)).toBe(100);
});

it('tells of the step that is looked at, and of those before it', () => {
  const traces = new Traces();
  for (let step = 1; step <= 5; step++) traces.push(traceOf(step));
  traces.scrubbed.value = 1;
  expect(traces.shown.value?.step).toBe(2);
  expect(traces.back(1)?.step).toBe(1);
  expect(traces.back(2)).toBe(undefined);
  expect(traces.interval(40)).toBe(100);
});
