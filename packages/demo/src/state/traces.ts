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

  /** The last `count` steps up to the one that is looked at, oldest first. */
  window(count: number): StepTrace[] {
    const end = (this.scrubbed.peek() ?? this.#kept.length - 1) + 1;
    return this.#kept.slice(Math.max(0, end - count), end);
  }

  /** Tokens per second around the step that is looked at: generated ones, and those of prompts that were computed. */
  rates(): { decode: number; prefill: number } {
    const steps = this.window(400);
    const last = steps.at(-1);
    if (last === undefined) return { decode: 0, prefill: 0 };
    const recent = steps.filter(({ time }) => last.time - time < RATE_WINDOW);
    const first = recent[0]!;
    const seconds = Math.max(1, last.time - first.time + first.milliseconds) / 1000;
    const before = steps[steps.length - recent.length - 1]?.counters.generationTokens ?? 0;
    const prefilled = recent.reduce((sum, step) => sum + promptTokens(step), 0);
    return { decode: (last.counters.generationTokens - before) / seconds, prefill: prefilled / seconds };
  }
}

export function promptTokens({ batch }: StepTrace): number {
  return batch.reduce((sum, { phase, numTokens }) => sum + (phase === 'prefill' ? numTokens : 0), 0);
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
