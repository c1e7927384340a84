import type { ModelSource } from './types.ts';

const ROOM_BYTES = 4 * 1024 * 1024;

/** Reads byte ranges of files in steps, the next of which is under way while one is used. */
export class AheadReader {
  readonly #source: ModelSource;
  /** Of ranges that have been read. Memory that was written to before is filled several times faster than new memory, which the system has to find. */
  readonly #rooms: Uint8Array[] = [];

  constructor(source: ModelSource) {
    this.#source = source;
  }

  /**
   * Bytes [start, end) of `file`, `step` at a time. A chunk is good until the next is asked for, unless `into`, as long as the range, is
   * given: then chunks are parts of that.
   */
  async *chunks(file: string, start: number, end: number, step: number, into?: Uint8Array): AsyncGenerator<Uint8Array> {
    const rooms = into === undefined ? [this.#takeRoom(step), this.#takeRoom(step)] : [];
    const read = (at: number) => {
      const to = Math.min(at + step, end);
      return at < end
        ? this.#source.read(file, at, to, into?.subarray(at - start, to - start) ?? rooms[((at - start) / step) % 2])
        : null;
    };
    let next = read(start);
    try {
      for (let at = start; at < end; at += step) {
        const chunk = await next!;
        next = read(at + step);
        // Where nobody comes for it, its failure is nobody's.
        next?.catch(() => {});
        yield chunk;
      }
    } finally {
      await next?.catch(() => {});
      this.#rooms.push(...rooms);
    }
  }

  #takeRoom(bytes: number): Uint8Array {
    const at = this.#rooms.findIndex(room => room.length >= bytes);
    return at < 0 ? new Uint8Array(Math.max(bytes, ROOM_BYTES)) : this.#rooms.splice(at, 1)[0]!;
  }
}
