import type { SamplingParams, StepTrace } from '@quire/core';
import type { EngineInfo, FromEngine, Prompt } from '../engine/messages.ts';

/** Something that the page was told or did. */
export type RecordedEvent =
  | Extract<FromEngine, { kind: 'trace' | 'output' | 'refused' | 'recovered' }>
  | { readonly kind: 'request'; readonly id: string; readonly prompt: Prompt; readonly params: SamplingParams };

export interface Recording {
  readonly format: 'quire-trace';
  readonly version: 1;
  readonly info: EngineInfo;
  /** Milliseconds since the first event, and the event. */
  readonly events: readonly (readonly [time: number, event: RecordedEvent])[];
}

/** Steps beyond this are forgotten, oldest first. */
const MAX_EVENTS = 20_000;

/** Keeps what happened, to be saved as a file and replayed without a GPU. */
export class Recorder {
  #events: [number, RecordedEvent][] = [];

  add(event: RecordedEvent): void {
    this.#events.push([performance.now(), event]);
    if (this.#events.length > MAX_EVENTS) this.#events.splice(0, MAX_EVENTS / 10);
  }

  clear(): void {
    this.#events = [];
  }

  get isEmpty(): boolean {
    return this.#events.length === 0;
  }

  save(info: EngineInfo): string {
    const start = this.#events[0]?.[0] ?? 0;
    const events = this.#events.map(([time, event]) => [Math.round(time - start), event] as const);
    const recording: Recording = { format: 'quire-trace', version: 1, info, events };
    return JSON.stringify(recording, (_, value) => (ArrayBuffer.isView(value) ? [...(value as Int32Array)] : value));
  }
}

/** Throws an Error that says what is wrong with the text. */
export function readRecording(text: string): Recording {
  let value: Partial<Recording>;
  try {
    value = JSON.parse(text) as Partial<Recording>;
  } catch {
    throw new Error('The file is no JSON. A trace is saved by "Save trace" on this page.');
  }
  if (value?.format !== 'quire-trace' || !Array.isArray(value.events) || value.info === undefined) {
    throw new Error('The file is no trace of this page: "format" is not "quire-trace".');
  }
  if (value.version !== 1) throw new Error(`The trace has version ${value.version}; this page reads version 1.`);
  return { ...(value as Recording), events: value.events.map(([time, event]) => [time, revive(event)] as const) };
}

function revive(event: RecordedEvent): RecordedEvent {
  return event.kind === 'trace' ? { kind: 'trace', trace: reviveTrace(event.trace) } : event;
}

/** A trace that went through JSON: arrays of numbers become typed arrays again. */
export function reviveTrace(trace: StepTrace): StepTrace {
  const { pool } = trace;
  const sequences = trace.sequences.map(each => ({ ...each, blockTable: Int32Array.from(each.blockTable) }));
  const revived: StepTrace['pool'] = {
    blockSize: pool.blockSize,
    refCounts: Uint16Array.from(pool.refCounts),
    cached: Uint8Array.from(pool.cached),
    filled: Uint8Array.from(pool.filled),
    freeOrder: Int32Array.from(pool.freeOrder),
    written: Int32Array.from(pool.written),
    copies: Int32Array.from(pool.copies),
  };
  return { ...trace, sequences, pool: revived };
}
