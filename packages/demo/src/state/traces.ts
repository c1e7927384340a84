import { computed, type ReadonlySignal, type Signal, signal } from '@preact/signals';
import type { StepTrace } from '@quire/core';
import type { EngineInfo } from '../engine/messages.ts';

/** Steps that can be scrubbed through. */
const KEPT = 2000;
/** Speeds are means over the last steps of this many milliseconds. */
const RATE_WINDOW = 2000;

/** The engine's last steps. */
export class Traces {
  readonly #kept: StepTrace[] = [];
  /** Index of the step that is looked at; null: the newest. */
  readonly scrubbed: Signal<number | null> = signal(null);
  readonly #version = signal(0);
  readonly shown: ReadonlySignal<StepTrace | null> = computed(() => {
    this.#version.value;
    return this.#kept[this.scrubbed.value ?? this.#kept.length - 1] ?? null;
  });

  get length(): number {
    this.#version.value;
    return this.#kept.length;
  }

  push(trace: StepTrace): void {
    this.#kept.push(trace);
    if (this.#kept.length > KEPT) {
      this.#kept.shift();
      const at = this.scrubbed.peek();
      if (at !== null) this.scrubbed.value = Math.max(0, at - 1);
    }
    this.#version.value++;
  }

  clear(): void {
    this.#kept.length = 0;
    this.scrubbed.value = null;
    this.#version.value++;
  }

  /** The step that is looked at, or one so many steps before it. */
  back(steps: number): StepTrace | undefined {
    return this.#kept[(this.scrubbed.peek() ?? this.#kept.length - 1) - steps];
  }

  /** Tokens per second around the step that is looked at: generated ones, and those of prompts that were computed. */
  rates(): { decode: number; prefill: number } {
    const last = this.back(0);
    if (last === undefined) return { decode: 0, prefill: 0 };
    let [first, before, prefilled] = [last, this.back(0), 0];
    for (let back = 0; before !== undefined && last.time - before.time < RATE_WINDOW; before = this.back(++back)) {
      first = before;
      prefilled += promptTokens(before);
    }
    const seconds = Math.max(1, last.time - first.time + first.milliseconds) / 1000;
    // The counter does not begin with the steps that are kept: a scenario empties those.
    const decoded = last.counters.generationTokens - (before ?? first).counters.generationTokens;
    return { decode: decoded / seconds, prefill: prefilled / seconds };
  }

  /** Milliseconds from one step to the next, over the last `count`; null where there is one step at most. */
  interval(count: number): number | null {
    const steps = Math.min(count, (this.scrubbed.peek() ?? this.#kept.length - 1) + 1);
    return steps < 2 ? null : (this.back(0)!.time - this.back(steps - 1)!.time) / (steps - 1);
  }
}

function promptTokens({ batch }: StepTrace): number {
  let tokens = 0;
  for (const { phase, numTokens } of batch) if (phase === 'prefill') tokens += numTokens;
  return tokens;
}

export interface PoolCounts {
  /** Without the null block. */
  readonly total: number;
  readonly used: number;
  readonly shared: number;
  /** Free ones whose content can still be found. */
  readonly cached: number;
}

/** Numbers of the pool that the header and the tests read; before the first step all blocks are free. */
export function poolCounts(trace: StepTrace | null, info: EngineInfo | null): PoolCounts {
  const numBlocks = trace?.pool.refCounts.length ?? info?.numBlocks ?? 1;
  const counts = { total: numBlocks - 1, used: 0, shared: 0, cached: 0 };
  if (trace === null) return counts;
  const { pool } = trace;
  for (let block = 1; block < pool.refCounts.length; block++) {
    const holders = pool.refCounts[block]!;
    if (holders > 0) counts.used++;
    if (holders > 1) counts.shared++;
    if (holders === 0 && pool.cached[block] === 1) counts.cached++;
  }
  return counts;
}
