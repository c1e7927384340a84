import { MarkerMatcher } from '../markers.ts';
import { EventList, type OutputEvent, type OutputParser } from '../output-events.ts';
import { CallReader } from './call-reader.ts';
import { isSpace } from './json-scanner.ts';

/** How a model writes calls: JSON objects with something around them. */
export interface ToolCallSyntax {
  /** Stands before a call. */
  readonly begin: string;
  /** Stands behind a call; null: nothing does. */
  readonly end: string | null;
  /** Stands between calls; null: each has its own `begin`. */
  readonly separator: string | null;
  /** A text that begins with a call needs no `begin`. */
  readonly isBare: boolean;
}

export interface ToolCallOptions {
  /** Only calls of these are calls; null: any name will do. */
  readonly names: ReadonlySet<string> | null;
  /** false: calls after the first are left out, as vLLM does. */
  readonly parallel: boolean;
}

/** White space that is held back while it is not known whether it stands beside a call. */
const MAX_SPACE = 1024;

/**
 * Finds the calls in a completion. One state and what is held back are all it remembers; each code unit is looked at once, and
 * twice where a marker breaks off.
 *
 * What turns out not to be a call is content, letter by letter. Once the name of a call and the opening bracket of its arguments
 * are there, it is told and cannot be taken back: if the arguments then break off, the call keeps what it has, and the rest is
 * content. White space between a call and its markers, or around it with nothing else there, is left out.
 */
export class ToolCallParser implements OutputParser {
  readonly #syntax: ToolCallSyntax;
  readonly #options: ToolCallOptions;
  readonly #markers: MarkerMatcher;
  #state: 'space' | 'text' | 'head' | 'call' | 'tail' = 'space';
  #call: CallReader | null = null;
  /** Calls whose names were told. */
  #calls = 0;
  #held: string[] = [];
  #heldSpace = 0;
  #list = new EventList();

  constructor(syntax: ToolCallSyntax, options: ToolCallOptions) {
    this.#syntax = syntax;
    this.#options = options;
    this.#markers = new MarkerMatcher(syntax.end === null ? [syntax.begin] : [syntax.begin, syntax.end]);
  }

  push(text: string): OutputEvent[] {
    for (let at = 0; at < text.length; ) {
      if (this.#state === 'call') at = this.#readCall(text, at);
      else if (this.#state === 'text' && this.#held.length === 0) at = this.#readText(text, at);
      else if (this.#step(text[at]!)) at++;
      else this.#release();
    }
    return this.#take();
  }

  end(): OutputEvent[] {
    const isSpaceBesideCall = this.#calls > 0 && this.#heldSpace === this.#held.length;
    if (isSpaceBesideCall) this.#held = [];
    this.#release();
    return this.#take();
  }

  #take(): OutputEvent[] {
    const { events } = this.#list;
    if (events.length > 0) this.#list = new EventList();
    return events;
  }

  /** What was held back is content, and so is what follows. */
  #release(): void {
    this.#list.text('content', this.#held.join(''));
    this.#forget();
    this.#state = 'text';
  }

  #forget(): void {
    this.#held = [];
    this.#heldSpace = 0;
  }

  #readText(text: string, start: number): number {
    const next = text.indexOf('<', start);
    const end = next < 0 ? text.length : next;
    this.#list.text('content', text.slice(start, end));
    if (next >= 0) this.#step('<');
    return next < 0 ? end : end + 1;
  }

  /** Takes one code unit outside of text and calls, and holds it back. false: it is neither space nor part of a marker. */
  #step(unit: string): boolean {
    if (this.#markers.seen !== '' || unit === '<') return this.#stepMarker(unit);
    if (this.#state === 'text') return false;
    if (isSpace(unit.charCodeAt(0))) return this.#holdSpace(unit);
    if (unit === '{' && this.#mayBegin) return this.#beginCall(unit);
    if (unit !== this.#syntax.separator || this.#state !== 'tail') return false;
    this.#held.push(unit);
    this.#state = 'head';
    return true;
  }

  /** A call may begin with its bracket here. */
  get #mayBegin(): boolean {
    switch (this.#state) {
      case 'head':
        return true;
      case 'tail':
        return this.#syntax.end !== null;
      default:
        return this.#syntax.isBare && this.#calls === 0;
    }
  }

  #holdSpace(unit: string): boolean {
    if (this.#heldSpace >= MAX_SPACE) return false;
    this.#held.push(unit);
    this.#heldSpace++;
    return true;
  }

  #stepMarker(unit: string): boolean {
    // Behind the beginning of a call comes the call, not another marker.
    const marker = this.#state === 'head' ? false : this.#markers.step(unit);
    if (marker === false || (marker === this.#syntax.end && this.#state !== 'tail' && marker !== null)) return false;
    this.#held.push(unit);
    if (marker === this.#syntax.begin) this.#state = 'head';
    else if (marker !== null) {
      this.#forget();
      this.#state = 'space';
    }
    return true;
  }

  #beginCall(unit: string): true {
    this.#call = new CallReader(this.#options.names);
    this.#call.read(unit, 0);
    this.#held.push(unit);
    this.#state = 'call';
    return true;
  }

  #readCall(text: string, start: number): number {
    const call = this.#call!;
    const wasTold = call.name !== null;
    const end = call.read(text, start);
    if (call.name === null) this.#held.push(text.slice(start, end));
    else this.#tell(call, wasTold);
    if (call.status === 'broken') this.#release();
    if (call.status === 'whole') this.#state = 'tail';
    return end;
  }

  /** A call that was told holds nothing back. */
  #tell(call: CallReader, wasTold: boolean): void {
    if (!wasTold) {
      this.#calls++;
      this.#forget();
    }
    const index = this.#calls - 1;
    const gained = call.takeArguments();
    if (index > 0 && !this.#options.parallel) return;
    if (!wasTold) this.#list.add({ kind: 'call', index, name: call.name! });
    this.#list.add({ kind: 'arguments', index, text: gained });
  }
}
