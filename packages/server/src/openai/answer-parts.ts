import type { OutputEvent, OutputParser } from './output-events.ts';

/** A stretch of an answer: text, reasoning, or the call of a tool, whose text is its arguments as JSON. */
export interface AnswerPart {
  /** Its place in the answer. */
  readonly index: number;
  readonly kind: 'content' | 'reasoning' | 'call';
  /** Of a call; else empty. */
  readonly name: string;
  text: string;
}

/** Writes the events of a stream in which parts follow each other. Texts are whole events. */
export interface PartFormat {
  open(part: AnswerPart): string;
  grow(part: AnswerPart, gained: string): string;
  close(part: AnswerPart): string;
}

const silent: PartFormat = { open: () => '', grow: () => '', close: () => '' };

/** The parts of one completion, from its text as it comes. */
export class AnswerParts {
  readonly all: AnswerPart[] = [];
  readonly #parser: OutputParser | null;
  readonly #format: PartFormat;
  #isOpen = false;

  /** parser: null when all text is content. format: not needed for an answer that is not streamed. */
  constructor(parser: OutputParser | null, format: PartFormat = silent) {
    this.#parser = parser;
    this.#format = format;
  }

  /** The events that this much text makes. */
  push(text: string): string {
    if (this.#parser !== null) return this.#take(this.#parser.push(text));
    return text === '' ? '' : this.#text('content', text);
  }

  end(): string {
    const events = this.#take(this.#parser?.end() ?? []);
    return events + this.#close();
  }

  #take(events: readonly OutputEvent[]): string {
    let written = '';
    for (const event of events) {
      if (event.kind === 'call') written += this.#open('call', event.name);
      else if (event.kind === 'arguments') written += this.#grow(event.text);
      else written += this.#text(event.kind, event.text);
    }
    return written;
  }

  #text(kind: 'content' | 'reasoning', text: string): string {
    const opened = this.#isOpen && this.all.at(-1)?.kind === kind ? '' : this.#open(kind, '');
    return opened + this.#grow(text);
  }

  #open(kind: AnswerPart['kind'], name: string): string {
    const closed = this.#close();
    const part = { index: this.all.length, kind, name, text: '' };
    this.all.push(part);
    this.#isOpen = true;
    return closed + this.#format.open(part);
  }

  #grow(text: string): string {
    const part = this.all.at(-1)!;
    part.text += text;
    return this.#format.grow(part, text);
  }

  #close(): string {
    if (!this.#isOpen) return '';
    this.#isOpen = false;
    return this.#format.close(this.all.at(-1)!);
  }
}

/** The parts of a whole text. */
export function partsOf(text: string, parser: OutputParser | null): readonly AnswerPart[] {
  const parts = new AnswerParts(parser);
  parts.push(text);
  parts.end();
  return parts.all;
}
