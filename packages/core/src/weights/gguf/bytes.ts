import { ModelFormatError } from '../../errors.ts';

/** The header goes on behind the bytes that were read: read more, and begin again. */
export class NeedMoreBytes extends Error {
  override readonly name = 'NeedMoreBytes';
}

/** Strings of metadata: chat templates are the longest. */
const MAX_STRING_BYTES = 1 << 20;

export type NumberType = 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'u64' | 'i64' | 'f64';

/** The little-endian values of a header, one after the other. Nothing is read beyond the bytes that are there. */
export class GgufBytes {
  at = 0;
  readonly #file: string;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #fileSize: number;
  readonly #isAll: boolean;
  readonly #decoder = new TextDecoder('utf-8', { fatal: true });

  /** `isAll`: there is nothing behind the bytes, or nothing that a header may have. */
  constructor(file: string, bytes: Uint8Array, fileSize: number, isAll: boolean) {
    this.#file = file;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fileSize = fileSize;
    this.#isAll = isAll;
  }

  peek(count: number): Uint8Array {
    return this.#bytes.subarray(this.at, this.at + count);
  }

  /** Throws where the file is too short for what is to follow. */
  mustHold(bytes: number, what: string): void {
    if (bytes <= this.#fileSize - this.at) return;
    throw this.#cutOff(`${what} of at least ${bytes} bytes`);
  }

  u32(): number {
    return this.#view.getUint32(this.#skip(4), true);
  }

  /** A count, size or offset: one that no number holds exactly is beyond any file. */
  u64(what: string): number {
    const value = this.#view.getBigUint64(this.#skip(8), true);
    if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
    throw new ModelFormatError('GG_LIMIT', 'this is larger than any real model needs', {
      file: this.#file,
      offset: this.at - 8,
      found: `${value} for ${what}`,
    });
  }

  number(type: NumberType, key: string): number {
    switch (type) {
      case 'u8':
        return this.#view.getUint8(this.#skip(1));
      case 'i8':
        return this.#view.getInt8(this.#skip(1));
      case 'u16':
        return this.#view.getUint16(this.#skip(2), true);
      case 'i16':
        return this.#view.getInt16(this.#skip(2), true);
      case 'u32':
        return this.u32();
      case 'i32':
        return this.#view.getInt32(this.#skip(4), true);
      case 'f32':
        return this.#view.getFloat32(this.#skip(4), true);
      case 'f64':
        return this.#view.getFloat64(this.#skip(8), true);
      case 'u64':
        return this.u64(key);
      case 'i64':
        return Number(this.#view.getBigInt64(this.#skip(8), true));
    }
  }

  string(): string {
    const length = this.u64('the length of a string');
    this.mustHold(length, 'a string');
    if (length > MAX_STRING_BYTES) {
      throw new ModelFormatError('GG_LIMIT', 'this is larger than any real model needs', {
        file: this.#file,
        offset: this.at,
        found: `a string of ${length} bytes`,
        expected: `at most ${MAX_STRING_BYTES}`,
      });
    }
    const start = this.#skip(length);
    try {
      return this.#decoder.decode(this.#bytes.subarray(start, start + length));
    } catch {
      throw new ModelFormatError('GG_UTF8', 'a string is not UTF-8', { file: this.#file, offset: start });
    }
  }

  #skip(count: number): number {
    const start = this.at;
    if (start + count > this.#bytes.length) {
      if (!this.#isAll) throw new NeedMoreBytes();
      throw this.#cutOff(`${count} bytes more`);
    }
    this.at += count;
    return start;
  }

  #cutOff(expected: string): ModelFormatError {
    return new ModelFormatError('GG_TRUNC', 'the file ends in its header, or the header is longer than any real one', {
      file: this.#file,
      offset: this.at,
      found: `${this.#fileSize} bytes`,
      expected,
      advice: 'Download the file again.',
    });
  }
}
