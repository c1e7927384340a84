import { type ChoiceDelta, join } from './choice-deltas.ts';
import type { OutputEvent, OutputParser } from './output-events.ts';

/** What a choice gained, and what its text turned out to be. */
export interface ParsedDelta {
  readonly delta: ChoiceDelta;
  readonly events: readonly OutputEvent[];
}

/** ChoiceDeltas for a choice whose text is parsed: a chunk is sent when a part of the message is known. */
export class ParsedDeltas {
  readonly #parser: OutputParser;
  readonly #isShown: (event: OutputEvent) => boolean;
  readonly #interval: number;
  #isFirst = true;
  #held: ChoiceDelta | null = null;
  #events: OutputEvent[] = [];

  /** interval: as in ChoiceDeltas. */
  constructor(parser: OutputParser, isShown: (event: OutputEvent) => boolean, interval: number) {
    this.#interval = interval;
    this.#parser = parser;
    this.#isShown = isShown;
  }

  /** What to send now, or null. */
  add(gained: ChoiceDelta): ParsedDelta | null {
    const delta = this.#held === null ? gained : join(this.#held, gained);
    const isLast = gained.finishReason !== null;
    const found = this.#parser.push(gained.text);
    this.#events.push(...(isLast ? [...found, ...this.#parser.end()] : found).filter(this.#isShown));
    const isDue = this.#isFirst || delta.tokenIds.length >= this.#interval;
    const ready = isLast || (isDue && this.#events.length > 0);
    this.#held = ready ? null : delta;
    return ready ? { delta, events: this.#take() } : null;
  }

  #take(): OutputEvent[] {
    const events = this.#events;
    this.#events = [];
    this.#isFirst = false;
    return events;
  }
}
