import { setTimeout as sleep } from 'node:timers/promises';
import { HubError } from './hub-error.ts';

export interface Retries {
  /** Tries in a row that may bring nothing. */
  readonly most: number;
  /** Wait before the second try; each further one waits twice as long. Milliseconds. */
  readonly waitMs: number;
  /** Grows when a try brings something, which then counts as none in vain. */
  readonly progress?: () => number;
}

/** Does the work again after HubErrors that may pass. Throws the last of them, and every other error at once. */
export async function retrying<T>(work: () => Promise<T>, { most, waitMs, progress = () => 0 }: Retries): Promise<T> {
  for (let failures = 0; ; ) {
    const before = progress();
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof HubError) || !error.transient) throw error;
      failures = progress() > before ? 1 : failures + 1;
      if (failures >= most) throw error;
      await sleep(waitMs * 2 ** (failures - 1));
    }
  }
}
