import { setTimeout as sleep } from 'node:timers/promises';

/** More than a starved machine needs, and less than a test has. */
const PATIENCE_MS = 60_000;

/** Resolves when the condition holds. Rejects with an Error that shows it when it does not hold for a minute. */
export async function until(condition: () => unknown): Promise<void> {
  const started = performance.now();
  while (!(await condition())) {
    if (performance.now() - started > PATIENCE_MS) throw new Error(`it did not come to this: ${condition}`);
    await sleep(5);
  }
}
