import { ModelFormatError } from '../errors.ts';
import { shortRead } from './file-name.ts';
import type { ModelSource } from './types.ts';

/** A model folder in memory: for tests, and for files that a browser user picked. Reads return views, not copies. */
export class MemorySource implements ModelSource {
  readonly location: string;
  readonly #files: ReadonlyMap<string, Uint8Array>;

  constructor(files: ReadonlyMap<string, Uint8Array>, location = 'memory') {
    this.#files = files;
    this.location = location;
  }

  async list(): Promise<string[]> {
    return [...this.#files.keys()];
  }

  async size(file: string): Promise<number | null> {
    return this.#files.get(file)?.length ?? null;
  }

  async read(file: string, start: number, end: number): Promise<Uint8Array> {
    const bytes = this.#files.get(file);
    if (bytes === undefined) throw new ModelFormatError('IO_ERROR', 'the file does not exist', { file });
    if (end > bytes.length) throw shortRead(file, bytes.length, start, end);
    return bytes.subarray(start, end);
  }

  async close(): Promise<void> {}
}
