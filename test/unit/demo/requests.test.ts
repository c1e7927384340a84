/** Where the demo shows its requests: what runs is on top, and stays where it is. */
import type { SequenceTrace, StepTrace } from '@quire/core';
import { expect, it } from 'vitest';
import { Requests } from '../../../packages/demo/src/state/requests.ts';

const PREFIX = 'page-';

function traceOf(running: readonly string[]): StepTrace {
  const sequences = running.map(
    (requestId): SequenceTrace => ({
      requestId,
      index: 0,
      status: 'running',
      numPromptTokens: 20,
      numTokens: 21,
      numComputed: 20,
      numCachedTokens: 0,
      blockTable: Int32Array.of(1, 2),
    }),
  );
  return { sequences } as unknown as StepTrace;
}

function finish(requests: Requests, id: string): void {
  const outputs = [{ index: 0, text: '.', numTokens: 1, finishReason: 'stop' as const }];
  requests.output({
    kind: 'output',
    id,
    numPromptTokens: 20,
    outputs,
    finished: true,
    timeToFirstToken: 1,
    error: null,
  });
}

it('gives the place of one that has ended to one that begins to run', () => {
  const requests = new Requests();
  const order = () => requests.placed.map(({ number }) => number);
  const ids = [1, 2, 3, 4, 5].map(i => `${PREFIX}${i}`);
  for (const id of ids) requests.add(id, { text: id }, { maxTokens: 4 });
  requests.follow(traceOf([ids[0]!, ids[1]!]), PREFIX);
  finish(requests, ids[0]!);
  expect(order()).toEqual([1, 2, 3, 4, 5]);
  requests.follow(traceOf([ids[1]!, ids[2]!]), PREFIX);
  expect(order()).toEqual([3, 2, 1, 4, 5]);
  requests.follow(traceOf([ids[1]!, ids[2]!]), PREFIX);
  expect(order()).toEqual([3, 2, 1, 4, 5]);
});

it('shows what others run on a server, and forgets the oldest that have ended', () => {
  const requests = new Requests();
  requests.follow(traceOf(['theirs']), PREFIX);
  expect(requests.placed.map(({ isOwn, maxTokens }) => ({ isOwn, maxTokens }))).toEqual([
    { isOwn: false, maxTokens: null },
  ]);
  for (let i = 0; i < 40; i++) {
    requests.add(`${PREFIX}${i}`, { text: '' }, {});
    finish(requests, `${PREFIX}${i}`);
  }
  requests.follow(traceOf(['theirs']), PREFIX);
  expect(requests.placed.length).toBe(33);
  expect(requests.placed.map(({ id }) => id)).toContain('theirs');
  requests.clear();
  expect(requests.placed).toEqual([]);
});
