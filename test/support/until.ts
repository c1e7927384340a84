import { setTimeout as sleep } from 'node:timers/promises';

const PAUSE_MS = 5;
/** A minute at least. Looks are counted, not time: a process that is starved or stopped has not waited. */
const LOOKS = 60_000 / PAUSE_MS;

/** Resolves when the condition holds. Rejects with an Error that shows it when it does not hold for a minute. */
export async function until(condition: () => unknown): Promise<void> {
  for (let look = 0; look < LOOKS; look++) {
    if (await condition()) return;
    await sleep(PAUSE_MS);
  }
  throw new Error(`it did not come to this: ${condition}`);
}
