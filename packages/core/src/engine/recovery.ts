import { DeviceLostError } from '../contract/contract.ts';
import type { ModelExecutor } from '../worker/types.ts';

/** Opens an executor again: on the device it had, or on a new one because that is lost. */
export type ReopenExecutor = (device: 'same' | 'new') => Promise<ModelExecutor>;

/** Failures without a step that succeeds in between, after which the engine gives up. */
const MAX_FAILURES = 16;
const ATTEMPTS = 3;
const FIRST_PAUSE_MILLISECONDS = 100;

/** Makes an executor usable again after a step failed, as long as that leads anywhere. */
export class Recovery {
  readonly #reopen: ReopenExecutor | null;
  #failures = 0;
  /** Failures that were survived. */
  count = 0;

  constructor(reopen: ReopenExecutor | null) {
    this.#reopen = reopen;
  }

  succeeded(): void {
    this.#failures = 0;
  }

  /**
   * The executor, or a new one on a new device when that of the old is lost; no row of it is taken and no block filled. Throws
   * the cause when there is nothing to be done.
   */
  async renew(executor: ModelExecutor, cause: unknown): Promise<ModelExecutor> {
    if (++this.#failures > MAX_FAILURES) throw cause;
    if (!isDeviceLost(cause)) {
      executor.reset();
      this.count++;
      return executor;
    }
    if (this.#reopen === null) throw cause;
    // What it held went with its device.
    await executor.dispose().catch(() => {});
    const renewed = await this.#open(this.#reopen);
    this.count++;
    return renewed;
  }

  /** A driver that has just reset its device may need a moment. */
  async #open(reopen: ReopenExecutor): Promise<ModelExecutor> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await reopen('new');
      } catch (error) {
        if (attempt === ATTEMPTS) throw error;
        await new Promise(resolve => setTimeout(resolve, FIRST_PAUSE_MILLISECONDS * 2 ** (attempt - 1)));
      }
    }
  }
}

/** Whether an error, or what caused it, says that the device is gone. */
export function isDeviceLost(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (cause instanceof DeviceLostError) return true;
  return false;
}
