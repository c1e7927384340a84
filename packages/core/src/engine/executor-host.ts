import { EngineError } from '../errors.ts';
import type { ExecutorLimits, ModelExecutor, SleepingExecutor, StepResult } from '../worker/types.ts';
import { Recovery, type ReopenExecutor } from './recovery.ts';
import type { StepBatch } from './step-batch.ts';

export interface InFlight {
  batch: StepBatch;
  result: Promise<StepResult>;
  /** Milliseconds on the engine's clock. */
  submitted: number;
}

/** An engine's executor through its life: the steps in flight on it, its pauses and sleep, and who takes its place when it fails. */
export class ExecutorHost {
  readonly #reopen: ReopenExecutor | null;
  readonly #recovery: Recovery;
  readonly #inFlight: InFlight[] = [];
  #executor: ModelExecutor;
  #stepsInFlight = 0;
  #drafts: Promise<void> | null = null;
  #pause: { promise: Promise<void>; end: () => void } | null = null;
  #asleep: SleepingExecutor | null = null;

  constructor(executor: ModelExecutor, reopen: ReopenExecutor | null) {
    this.#executor = executor;
    this.#reopen = reopen;
    this.#recovery = new Recovery(reopen);
  }

  get executor(): ModelExecutor {
    return this.#executor;
  }

  get limits(): ExecutorLimits {
    return this.#executor.limits;
  }

  get numInFlight(): number {
    return this.#inFlight.length;
  }

  /** Repeats of all submits in flight. */
  get stepsInFlight(): number {
    return this.#stepsInFlight;
  }

  get isPaused(): boolean {
    return this.#pause !== null;
  }

  get isSleeping(): boolean {
    return this.#asleep !== null;
  }

  get numRecoveries(): number {
    return this.#recovery.count;
  }

  submit(batch: StepBatch, now: number): void {
    const result = this.#executor.submit(batch);
    // It is awaited in its turn; until then a rejection is not unhandled.
    result.catch(() => {});
    this.#inFlight.push({ batch, result, submitted: now });
    this.#stepsInFlight += batch.times;
  }

  /** The oldest step in flight, which is the caller's to await and to `finish`. */
  next(): InFlight | undefined {
    const oldest = this.#inFlight.shift();
    if (oldest !== undefined) this.#stepsInFlight -= oldest.batch.times;
    return oldest;
  }

  /** Waits for drafts that are being made. */
  async draft(drafts: Promise<void>): Promise<void> {
    this.#drafts = drafts;
    try {
      await drafts;
    } finally {
      this.#drafts = null;
    }
  }

  succeeded(): void {
    this.#recovery.succeeded();
  }

  /** Drops the steps in flight, once they and the drafts that are being made are done. */
  async settle(): Promise<void> {
    const dropped = this.#inFlight.splice(0);
    this.#stepsInFlight = 0;
    await Promise.allSettled([...dropped.map(({ result }) => result), this.#drafts]);
  }

  /** Makes the executor usable after a failure, or replaces it. Throws the cause when there is nothing to be done. */
  async renew(cause: unknown): Promise<void> {
    this.#executor = await this.#recovery.renew(this.#executor, cause);
  }

  pause(): void {
    if (this.#pause !== null) return;
    let end = () => {};
    const promise = new Promise<void>(resolve => {
      end = resolve;
    });
    this.#pause = { promise, end };
  }

  resume(): void {
    if (this.#asleep !== null) throw new EngineError('The engine is asleep. Wake it up instead.');
    this.endPause();
  }

  /** Resolves when the pause ends. */
  async resumed(): Promise<void> {
    await this.#pause?.promise;
  }

  endPause(): void {
    this.#pause?.end();
    this.#pause = null;
  }

  async sleep(discardWeights: boolean): Promise<void> {
    const reopen = this.#reopen;
    if (!discardWeights) {
      this.#asleep = await this.#executor.sleep();
      return;
    }
    if (reopen === null) throw new EngineError('This engine cannot load its weights again, so it must keep them.');
    await this.#executor.dispose();
    this.#asleep = { wake: () => reopen('same'), dispose: async () => {} };
  }

  async wakeUp(): Promise<void> {
    if (this.#asleep === null) return;
    this.#executor = await this.#asleep.wake();
    this.#asleep = null;
  }

  async dispose(): Promise<void> {
    await (this.#asleep ?? this.#executor).dispose();
  }
}
