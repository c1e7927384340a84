import type { OutputEvent, OutputParser } from '../../../packages/server/src/openai/output-events.ts';

export interface Message {
  content: string;
  reasoning: string;
  calls: { name: string; arguments: string }[];
}

/** What a text becomes when it arrives in these pieces. */
export function parse(parser: OutputParser, pieces: readonly string[]): Message {
  const message: Message = { content: '', reasoning: '', calls: [] };
  const add = (event: OutputEvent): void => {
    if (event.kind === 'call') {
      if (event.index !== message.calls.length) throw new Error(`call ${event.index} came out of order`);
      message.calls.push({ name: event.name, arguments: '' });
    } else if (event.kind === 'arguments') message.calls[event.index]!.arguments += event.text;
    else message[event.kind] += event.text;
  };
  for (const piece of pieces) parser.push(piece).forEach(add);
  parser.end().forEach(add);
  return message;
}

/** Text cut at the given places (fractions of its length). */
export function cut(text: string, places: readonly number[]): string[] {
  const ends = places.map(place => Math.floor(place * text.length)).sort((a, b) => a - b);
  return [...ends, text.length].map((end, i) => text.slice(ends[i - 1] ?? 0, end));
}
