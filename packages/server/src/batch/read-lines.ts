import { createReadStream } from 'node:fs';
import { BatchError } from './batch-error.ts';

/** Longer lines are told, not kept: a body of the size that the server takes, and its envelope. */
export const MAX_LINE_BYTES = 16 * 2 ** 20;

const NEWLINE = 0x0a;

export interface Line {
  /** 1-based. */
  readonly number: number;
  /** Without its end; null when it is longer than MAX_LINE_BYTES. */
  readonly bytes: Buffer | null;
  /** Bytes of the file up to the end of the line. */
  readonly end: number;
  /** False for a last line that no newline ends. */
  readonly whole: boolean;
}

/**
 * The lines of a file, one at a time, in memory of the longest. Lines end with `\n` alone: what JSON may hold unescaped, such as
 * U+2028, ends none. Throws BatchError when the file cannot be read.
 */
export async function* readLines(path: string): AsyncGenerator<Line> {
  const line = new OpenLine();
  let offset = 0;
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>) {
      let start = 0;
      for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, start)) {
        line.add(chunk.subarray(start, at));
        yield line.take(offset + at + 1, true);
        start = at + 1;
      }
      line.add(chunk.subarray(start));
      offset += chunk.length;
    }
  } catch (error) {
    throw new BatchError('unreadable_file', `${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  if (line.length > 0) yield line.take(offset, false);
}

/** The line that is being read. */
class OpenLine {
  #number = 0;
  #parts: Buffer[] = [];
  length = 0;

  add(part: Buffer): void {
    this.length += part.length;
    if (this.length > MAX_LINE_BYTES) this.#parts = [];
    else this.#parts.push(part);
  }

  take(end: number, whole: boolean): Line {
    const bytes = this.length > MAX_LINE_BYTES ? null : Buffer.concat(this.#parts);
    this.#parts = [];
    this.length = 0;
    return { number: ++this.#number, bytes, end, whole };
  }
}

/** An empty line is none. */
export function isBlank({ bytes }: Line): boolean {
  return bytes?.every(byte => byte === 0x20 || byte === 0x09 || byte === 0x0d) ?? false;
}
