import { QueueFullError } from '../errors.ts';
import type { EngineConfig } from './engine-config.ts';

type Limits = Partial<Pick<EngineConfig, 'maxNumQueuedReqs' | 'maxNumQueuedTokens'>>;

/** What waits. */
interface Queue {
  readonly length: number;
  readonly numTokens: number;
}

/** Throws QueueFullError when nothing more may wait, whatever it is: the check costs nothing and comes before any work. */
export function checkQueue(queue: Queue, { maxNumQueuedReqs = null, maxNumQueuedTokens = null }: Limits): void {
  if (maxNumQueuedReqs !== null && queue.length >= maxNumQueuedReqs) {
    throw new QueueFullError(
      `The queue is full: ${queue.length} requests wait, the limit is ${maxNumQueuedReqs} (max_num_queued_reqs). Try again later.`,
    );
  }
  if (maxNumQueuedTokens !== null && queue.numTokens >= maxNumQueuedTokens) throw tokensFull(queue, maxNumQueuedTokens);
}

/** The same for a prompt whose length is known. An empty queue takes any prompt: it could never be taken otherwise. */
export function checkQueuedTokens(queue: Queue, { maxNumQueuedTokens = null }: Limits, promptTokens: number): void {
  if (maxNumQueuedTokens === null || queue.numTokens === 0) return;
  if (queue.numTokens + promptTokens > maxNumQueuedTokens) throw tokensFull(queue, maxNumQueuedTokens);
}

function tokensFull({ numTokens }: Queue, limit: number): QueueFullError {
  return new QueueFullError(
    `The queue is full: ${numTokens} tokens wait, the limit is ${limit} (max_num_queued_tokens). Try again later.`,
  );
}
