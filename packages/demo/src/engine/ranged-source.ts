import { ModelFormatError, type ModelSource } from '@quire/core';

/** The server answers ranges with whole files. */
export class NoRangesError extends Error {}

/** A model whose small files are here and whose weights are on a server, where pieces of them are read by ranges. */
export class RangedSource implements ModelSource {
  readonly location: string;
  readonly #here: ModelSource;
  readonly #base: string;
  readonly #weights: ReadonlyMap<string, number>;

  /** `weights`: sizes in bytes by the names of files, which lie at `base`. */
  constructor(here: ModelSource, base: string, weights: ReadonlyMap<string, number>) {
    this.location = here.location;
    this.#here = here;
    this.#base = base;
    this.#weights = weights;
  }

  async list(): Promise<string[]> {
    return [...(await this.#here.list()), ...this.#weights.keys()];
  }

  async size(file: string): Promise<number | null> {
    return this.#weights.get(file) ?? this.#here.size(file);
  }

  /** Throws NoRangesError besides what others do. */
  async read(file: string, start: number, end: number): Promise<Uint8Array> {
    if (!this.#weights.has(file)) return this.#here.read(file, start, end);
    const response = await fetch(new URL(file, this.#base), { headers: { range: `bytes=${start}-${end - 1}` } });
    if (response.status !== 206) {
      await response.body?.cancel();
      throw new NoRangesError();
    }
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (bytes.length === end - start) return bytes;
    throw new ModelFormatError('IO_ERROR', `the server has no bytes ${start} to ${end}`, { file });
  }

  /** What lies here stays open. */
  async close(): Promise<void> {}
}
