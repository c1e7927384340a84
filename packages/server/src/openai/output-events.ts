/**
 * What a stretch of a completion's text turned out to be. A call begins with its name, which is whole; its arguments follow, as
 * many times as they grow, as JSON text. Calls are counted from 0.
 */
export type OutputEvent =
  | { readonly kind: 'content' | 'reasoning'; readonly text: string }
  | { readonly kind: 'call'; readonly index: number; readonly name: string }
  | { readonly kind: 'arguments'; readonly index: number; readonly text: string };

/** Sorts the text of a completion into events as it is generated. How the text is cut makes no difference to the whole. */
export interface OutputParser {
  push(text: string): OutputEvent[];
  /** What is left when the completion is over. */
  end(): OutputEvent[];
}

/** Collects events; text that follows text of its kind joins it. */
export class EventList {
  readonly events: OutputEvent[] = [];

  text(kind: 'content' | 'reasoning', text: string): void {
    const last = this.events.at(-1);
    if (text === '') return;
    if (last?.kind === kind) this.events[this.events.length - 1] = { kind, text: last.text + text };
    else this.events.push({ kind, text });
  }

  add(event: OutputEvent): void {
    if (event.kind === 'content' || event.kind === 'reasoning') this.text(event.kind, event.text);
    else if (event.kind === 'call' || event.text !== '') this.events.push(event);
  }
}
