import type { ModelSource } from './types.ts';

const BLOCK_BYTES = 2 << 20;
/** As many may be under way: more than are read at once, so that the next read is there when one ends. */
const BLOCKS_AHEAD = 8;
/** What has been used stays as long: a weight may be made of tensors that lie about, such as those of queries, keys and values. */
const BLOCKS = 2 * BLOCKS_AHEAD;
const WINDOW_BYTES = BLOCKS * BLOCK_BYTES;
/** So that a chunk that begins and ends within blocks is read ahead whole. */
const MOST_CHUNK_BYTES = (BLOCKS_AHEAD - 2) * BLOCK_BYTES;

/**
 * Reads byte ranges of files in chunks. While one is used, the blocks that follow in the file are read: many at once, since each takes its
 * time, and in the order of the file, since a system reads ahead of whoever reads in order. Beyond the end of a range it goes as far as
 * ranges have followed one another so far, so that nothing is read in vain for who reads here and there.
 */
export class AheadReader {
  readonly #source: ModelSource;
  #ahead: FileWindow | null = null;
  /** The window moves with one stream. One that is open beside it reads for itself, chunk by chunk. */
  #taken = false;

  constructor(source: ModelSource) {
    this.#source = source;
  }

  /** Bytes [start, end) of `file`, `step` at a time if that is given. A chunk is good until the next is asked for. */
  async *chunks(file: string, start: number, end: number, step?: number): AsyncGenerator<Uint8Array> {
    const chunkEnd = (at: number) =>
      Math.min(step === undefined ? blockOf(at + BLOCK_BYTES) * BLOCK_BYTES : at + step, end);
    if (this.#taken || (step !== undefined && step > MOST_CHUNK_BYTES)) {
      for (let at = start; at < end; at = chunkEnd(at)) yield await this.#source.read(file, at, chunkEnd(at));
      return;
    }
    this.#taken = true;
    try {
      if (this.#ahead?.file !== file) {
        const size = (await this.#source.size(file)) ?? 0;
        this.#ahead = new FileWindow(this.#source, file, size, await this.#ahead?.leave());
      }
      yield* this.#ahead.chunks(start, end, chunkEnd);
    } finally {
      this.#taken = false;
    }
  }
}

interface Slot {
  readonly block: number;
  /** Its first byte that is read. */
  readonly from: number;
  /** false: it failed. */
  readonly reading: Promise<boolean>;
}

/** The blocks of a file that were read last or are under way: byte i of the file lies at i modulo the size of the room. */
class FileWindow {
  readonly file: string;
  readonly #room: Uint8Array<ArrayBuffer>;
  readonly #source: ModelSource;
  readonly #size: number;
  readonly #slots: Slot[];
  /** Where the row of ranges that follow one another began, as if there were no gaps in it. */
  #origin = 0;
  /** How far ranges of that row go. */
  #end = 0;
  #nextBlock = 0;

  /** `room` is used again where it is large enough. */
  constructor(source: ModelSource, file: string, size: number, room = new Uint8Array(0)) {
    const bytes = Math.min(size, WINDOW_BYTES);
    this.#source = source;
    this.file = file;
    this.#room = room.length >= bytes ? room : new Uint8Array(bytes);
    this.#size = size;
    this.#slots = Array.from({ length: BLOCKS }, () => ({ block: -1, from: 0, reading: Promise.resolve(false) }));
  }

  /** Bytes [start, end), cut after each `at` at `chunkEnd(at)`. */
  async *chunks(start: number, end: number, chunkEnd: (at: number) => number): AsyncGenerator<Uint8Array> {
    const ahead = this.#seek(start, end);
    for (let at = start; at < end; at = chunkEnd(at)) {
      if (ahead !== null) await this.#readAhead(at, Math.max(end, at + ahead));
      const to = chunkEnd(at);
      yield (await this.#has(at, to)) ? this.#view(at, to) : await this.#source.read(this.file, at, to);
    }
  }

  /**
   * How far may be read ahead of bytes [start, end) beyond their end: as many bytes as the row had before them. null: they are few and lie
   * elsewhere, and are read by themselves, so that what is ahead is not given up for them.
   */
  #seek(start: number, end: number): number | null {
    const block = blockOf(start);
    const isHeld = block < this.#nextBlock && block >= this.#nextBlock - BLOCKS && this.#slotWith(start) !== null;
    const gap = start - this.#end;
    const isNear = isHeld || (gap >= 0 && gap <= BLOCK_BYTES);
    if (!isNear && end - start <= BLOCK_BYTES) return null;
    if (isNear) {
      this.#origin += Math.max(gap, 0);
      this.#end = Math.max(this.#end, end);
      this.#nextBlock = Math.max(this.#nextBlock, block);
    } else {
      this.#origin = start;
      this.#end = end;
      this.#nextBlock = block;
    }
    return Math.max(start - this.#origin, 0);
  }

  /** The room, once no read to it is under way. */
  async leave(): Promise<Uint8Array<ArrayBuffer>> {
    await Promise.all(this.#slots.map(({ reading }) => reading));
    return this.#room;
  }

  /** Begins to read blocks up to `end`, as far as bytes from `start` on keep their places. */
  async #readAhead(start: number, end: number): Promise<void> {
    const last = Math.min(Math.ceil(Math.min(end, this.#size) / BLOCK_BYTES), blockOf(start) + BLOCKS_AHEAD);
    while (this.#nextBlock < last) {
      const block = this.#nextBlock++;
      // Of a block that was passed over, the read may still be under way.
      await this.#slots[block % BLOCKS]!.reading;
      // Of the first block of a row, what lies before is not needed.
      const from = Math.max(block * BLOCK_BYTES, this.#origin);
      this.#slots[block % BLOCKS] = { block, from, reading: this.#readBlock(block, from) };
    }
  }

  /** Whether it could be read. What fails here is read again, and told, by who needs it. */
  async #readBlock(block: number, start: number): Promise<boolean> {
    const end = Math.min((block + 1) * BLOCK_BYTES, this.#size);
    const place = this.#room.subarray(start % WINDOW_BYTES, (start % WINDOW_BYTES) + end - start);
    try {
      const bytes = await this.#source.read(this.file, start, end, place);
      if (bytes.buffer !== place.buffer) place.set(bytes);
      return true;
    } catch {
      return false;
    }
  }

  async #has(start: number, end: number): Promise<boolean> {
    if (end > this.#size) return false;
    for (let at = start; at < end; at = (blockOf(at) + 1) * BLOCK_BYTES) {
      if (!(await this.#slotWith(at)?.reading)) return false;
    }
    return true;
  }

  /** Where the byte at `offset`, and the rest of its block, is or will be. */
  #slotWith(offset: number): Slot | null {
    const slot = this.#slots[blockOf(offset) % BLOCKS]!;
    return slot.block === blockOf(offset) && slot.from <= offset ? slot : null;
  }

  #view(start: number, end: number): Uint8Array {
    const from = start % WINDOW_BYTES;
    const view = this.#room.subarray(from, from + end - start);
    if (view.length === end - start) return view;
    const joined = new Uint8Array(end - start);
    joined.set(view);
    joined.set(this.#room.subarray(0, joined.length - view.length), view.length);
    return joined;
  }
}

function blockOf(offset: number): number {
  return Math.floor(offset / BLOCK_BYTES);
}
