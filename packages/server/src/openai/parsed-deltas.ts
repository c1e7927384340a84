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
  #held: ChoiceDelta | null = null;

  constructor(parser: OutputParser, isShown: (event: OutputEvent) => boolean) {
    this.#parser = parser;
    this.#isShown = isShown;
  }

  /** What to send now, or null. */
  add(gained: ChoiceDelta): ParsedDelta | null {
    const delta = this.#held === null ? gained : join(this.#held, gained);
    const isLast = gained.finishReason !== null;
    const found = this.#parser.push(gained.text);
    const events = (isLast ? [...found, ...this.#parser.end()] : found).filter(this.#isShown);
    const ready = isLast || events.length > 0;
    this.#held = ready ? null : delta;
    return ready ? { delta, events } : null;
  }
}
