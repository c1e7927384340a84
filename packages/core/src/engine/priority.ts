import { InvalidRequestError } from '../errors.ts';

/**
 * How many later requests one level of priority lets a request overtake, and no more: the others age by one level with every so
 * many arrivals, so that none waits for ever.
 */
export const OVERTAKES_PER_LEVEL = 256;

/** Levels beyond this count as this: ranks stay exact integers. */
const MAX_LEVEL = 2 ** 40;

/** A scheduling policy: first come, first served; or by priority, lower first, with ageing. */
export type SchedulingPolicy = 'fcfs' | 'priority';

/**
 * The place of a request among all others: lower runs first, equal priorities in order of arrival. Ageing that is linear in
 * arrivals leaves the order of two requests as it was when the later one came, so the rank never changes. Of equal ranks, which
 * different priorities can have, the earlier arrival runs first.
 */
export function rankOf(priority: number, arrival: number): number {
  const level = Math.max(-MAX_LEVEL, Math.min(MAX_LEVEL, priority));
  return level * OVERTAKES_PER_LEVEL + arrival;
}

/** As vLLM: a priority that would be ignored is an error. Throws InvalidRequestError. */
export function checkPriority(priority: number, policy: SchedulingPolicy = 'fcfs'): void {
  if (priority === 0 || policy === 'priority') return;
  throw new InvalidRequestError(
    `priority is ${priority}, but this engine schedules first come, first served. Set scheduling_policy to priority, or leave it out.`,
    'priority',
  );
}
