import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Resolves after so many seconds in which this process ran: one that was stopped, with what it waits for, has not waited. Rejects with
 * AbortError when `signal` aborts.
 */
export async function ownSeconds(count: number, signal: AbortSignal): Promise<void> {
  for (let second = 0; second < count; second++) await sleep(1000, undefined, { ref: false, signal });
}
