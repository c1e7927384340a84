import { MarkerMatcher } from '../markers.ts';
import { EventList, type OutputEvent, type OutputParser } from '../output-events.ts';
import { isSpace } from '../tools/json-scanner.ts';

/** How a model sets its reasoning apart. */
export interface ReasoningSyntax {
  readonly begin: string;
  readonly end: string;
  /** A text that does not begin with `begin` is reasoning all the same. */
  readonly isImplied: boolean;
}

/** Where a completion begins: within the reasoning, behind it, or in front of it, if there is any. */
export type ReasoningStart = 'inside' | 'after' | 'before';

/** White space that is held back in front of `begin`. */
const MAX_SPACE = 1024;

/** Tells the reasoning at the beginning of a completion from the answer, which goes through another parser. Markers are left out. */
export class ReasoningParser implements OutputParser {
  readonly #syntax: ReasoningSyntax;
  readonly #answer: OutputParser | null;
  #markers: MarkerMatcher;
  #state: ReasoningStart;
  /** White space and the beginning of a marker, in code units. */
  #held = '';

  /** answer: what parses the text behind the reasoning; null: all of it is content. */
  constructor(syntax: ReasoningSyntax, start: ReasoningStart, answer: OutputParser | null) {
    this.#syntax = syntax;
    this.#answer = answer;
    this.#state = start;
    this.#markers = new MarkerMatcher([start === 'before' ? syntax.begin : syntax.end]);
  }

  push(text: string): OutputEvent[] {
    const list = new EventList();
    let at = 0;
    while (at < text.length && this.#state === 'before') at = this.#readBefore(text, at, list);
    while (at < text.length && this.#state === 'inside') at = this.#readInside(text, at, list);
    return at < text.length ? this.#append(list, this.#pushAnswer(at === 0 ? text : text.slice(at))) : list.events;
  }

  end(): OutputEvent[] {
    const list = new EventList();
    const held = this.#release();
    const isReasoning = this.#state === 'inside' || (this.#state === 'before' && this.#syntax.isImplied);
    if (isReasoning) list.text('reasoning', held);
    else this.#append(list, this.#pushAnswer(held));
    return this.#append(list, this.#answer?.end() ?? []);
  }

  #readBefore(text: string, at: number, list: EventList): number {
    const unit = text[at]!;
    const isMarker = this.#markers.seen !== '' || unit === '<';
    const step = isMarker
      ? this.#markers.step(unit)
      : isSpace(unit.charCodeAt(0)) && this.#held.length < MAX_SPACE && null;
    if (step === null) this.#held += unit;
    else if (typeof step === 'string') this.#enter();
    else this.#skip(list);
    return step === false ? at : at + 1;
  }

  /** There is no marker in front. */
  #skip(list: EventList): void {
    const held = this.#held;
    this.#enter();
    if (this.#syntax.isImplied) list.text('reasoning', held);
    else {
      this.#state = 'after';
      this.#append(list, this.#pushAnswer(held));
    }
  }

  #enter(): void {
    this.#held = '';
    this.#state = 'inside';
    this.#markers = new MarkerMatcher([this.#syntax.end]);
  }

  #readInside(text: string, start: number, list: EventList): number {
    if (this.#markers.seen === '') {
      const next = text.indexOf('<', start);
      const end = next < 0 ? text.length : next;
      list.text('reasoning', text.slice(start, end));
      if (end > start) return end;
    }
    const { seen } = this.#markers;
    const step = this.#markers.step(text[start]!);
    if (step === false) list.text('reasoning', seen);
    else if (step !== null) this.#state = 'after';
    return step === false ? start : start + 1;
  }

  /** What was held back and begins no marker. */
  #release(): string {
    return this.#state === 'inside' ? this.#markers.seen : this.#held;
  }

  #pushAnswer(text: string): OutputEvent[] {
    if (this.#answer !== null) return this.#answer.push(text);
    return text === '' ? [] : [{ kind: 'content', text }];
  }

  #append(list: EventList, events: readonly OutputEvent[]): OutputEvent[] {
    for (const event of events) list.add(event);
    return list.events;
  }
}
