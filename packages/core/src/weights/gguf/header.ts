import { ModelFormatError } from '../../errors.ts';
import { quote } from '../json-scan.ts';
import { MAX_FILE_TENSORS, NameBudget } from '../limits.ts';
import { describeMagic } from '../magic.ts';
import type { ModelSource } from '../types.ts';
import { type GgufType, ggufTypes, typeOf } from './blocks.ts';
import { GgufBytes, NeedMoreBytes } from './bytes.ts';

/** Metadata: of arrays, the elements; integers are numbers, which must hold them exactly. */
export type GgufValue = number | boolean | string | readonly (number | boolean | string)[];

export interface GgufTensor {
  readonly name: string;
  /** Row-major: the last dimension is contiguous. The file has them the other way round. */
  readonly shape: readonly number[];
  readonly type: GgufType;
  /** Byte range in the file. */
  readonly start: number;
  readonly end: number;
}

export interface GgufHeader {
  readonly file: string;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

const MAGIC = 0x46554747;
const FIRST_BYTES = 1 << 20;
/** Large vocabularies take 20 MB. */
const MAX_HEADER_BYTES = 128 * 2 ** 20;
const MAX_KEYS = 10_000;
const MAX_ELEMENTS = 4_000_000;
/** ggml's. */
const MAX_DIMS = 4;
const MAX_ALIGNMENT = 1 << 16;

/** Metadata types, in the order of their numbers. */
const valueTypes = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
] as const;
type ValueType = (typeof valueTypes)[number];

/**
 * Reads the header of a GGUF file (ggml's docs/gguf.md), versions 2 and 3: metadata, and where each tensor lies. Nothing in it is
 * trusted: counts and lengths are checked against the file before memory is taken, tensors must lie in the file, aligned and apart.
 * @throws ModelFormatError with a code GG_*.
 */
export async function readGgufHeader(source: ModelSource, file: string, fileSize: number): Promise<GgufHeader> {
  const most = Math.min(fileSize, MAX_HEADER_BYTES);
  for (let length = Math.min(FIRST_BYTES, most); ; length = Math.min(4 * length, most)) {
    const bytes = new GgufBytes(file, await source.read(file, 0, length), fileSize, length === most);
    try {
      return new HeaderParser(file, fileSize, bytes).parse();
    } catch (error) {
      if (!(error instanceof NeedMoreBytes)) throw error;
    }
  }
}

class HeaderParser {
  readonly #file: string;
  readonly #fileSize: number;
  readonly #bytes: GgufBytes;

  constructor(file: string, fileSize: number, bytes: GgufBytes) {
    this.#file = file;
    this.#fileSize = fileSize;
    this.#bytes = bytes;
  }

  parse(): GgufHeader {
    this.#checkMagic();
    const numTensors = this.#count('tensors', MAX_FILE_TENSORS, 24);
    const numKeys = this.#count('keys', MAX_KEYS, 13);
    const metadata = new Map<string, GgufValue>();
    for (let i = 0; i < numKeys; i++) {
      const key = this.#bytes.string();
      if (metadata.has(key)) throw this.#fail('GG_DUP', 'a key occurs twice', { field: quote(key) });
      metadata.set(key, this.#value(key));
    }
    const parts = this.#tensors(numTensors);
    const alignment = this.#alignment(metadata);
    const dataStart = Math.ceil(this.#bytes.at / alignment) * alignment;
    const tensors = parts.map(part => this.#place(part, dataStart, alignment));
    this.#checkApart(tensors);
    return { file: this.#file, metadata, tensors: new Map(tensors.map(tensor => [tensor.name, tensor])) };
  }

  #checkMagic(): void {
    const head = this.#bytes.peek(16);
    if (this.#fileSize < 24 || this.#bytes.u32() !== MAGIC) {
      const found = describeMagic(head) ?? `${this.#fileSize} bytes that begin otherwise`;
      throw this.#fail('GG_MAGIC', 'this is no GGUF file', { found, expected: 'GGUF' });
    }
    const version = this.#bytes.u32();
    if (version === 2 || version === 3) return;
    const swapped = version >>> 24 === 2 || version >>> 24 === 3;
    const found = swapped ? `${version} (a file of a big-endian machine)` : `${version}`;
    throw this.#fail('GG_VERSION', 'this version of GGUF is not supported', { found, expected: '2 or 3' });
  }

  /** How many follow, each of at least so many bytes. */
  #count(what: string, most: number, leastBytes: number): number {
    const count = this.#bytes.u64(what);
    if (count > most)
      throw this.#fail('GG_LIMIT', 'this is larger than any real model needs', {
        found: `${count} ${what}`,
        expected: `at most ${most}`,
      });
    this.#bytes.mustHold(count * leastBytes, what);
    return count;
  }

  #value(key: string): GgufValue {
    const type = this.#valueType(key);
    if (type !== 'array') return this.#scalar(type, key);
    const of = this.#valueType(key);
    if (of === 'array')
      throw this.#fail('GG_VALUE', 'arrays of arrays are not supported', {
        field: quote(key),
        expected: 'an array of numbers or strings',
      });
    const count = this.#count(`elements of ${quote(key)}`, MAX_ELEMENTS, leastBytes[of]);
    const values: (number | boolean | string)[] = [];
    for (let i = 0; i < count; i++) values.push(this.#scalar(of, key));
    return values;
  }

  #valueType(key: string): ValueType {
    const number = this.#bytes.u32();
    const type = valueTypes[number];
    if (type !== undefined) return type;
    throw this.#fail('GG_VALUE', 'the value of a key has a type that there is not', {
      field: quote(key),
      found: `${number}`,
      expected: `0 to ${valueTypes.length - 1}`,
    });
  }

  #scalar(type: Exclude<ValueType, 'array'>, key: string): number | boolean | string {
    if (type === 'string') return this.#bytes.string();
    if (type !== 'bool') return this.#bytes.number(type, key);
    const value = this.#bytes.number('u8', key);
    if (value > 1)
      throw this.#fail('GG_VALUE', 'the value of a key is not usable', {
        field: quote(key),
        found: `${value}`,
        expected: '0 or 1',
      });
    return value === 1;
  }

  #tensors(count: number): Omit<GgufTensor, 'end'>[] {
    const budget = new NameBudget(this.#file, 'GG_LIMIT', MAX_FILE_TENSORS);
    const seen = new Set<string>();
    return Array.from({ length: count }, () => {
      const name = this.#bytes.string();
      budget.add(name);
      if (seen.has(name)) throw this.#fail('GG_DUP', 'a tensor occurs twice', { tensor: quote(name) });
      seen.add(name);
      const shape = this.#shape(name);
      const number = this.#bytes.u32();
      const type = typeOf(number);
      if (type === null) throw this.#unknownType(name, number);
      return { name, shape, type, start: this.#bytes.u64('the offset of a tensor') };
    });
  }

  #shape(tensor: string): number[] {
    const rank = this.#bytes.u32();
    if (rank < 1 || rank > MAX_DIMS) {
      throw this.#fail('GG_TENSOR', 'the tensor has another number of dimensions', {
        tensor: quote(tensor),
        found: `${rank}`,
        expected: `1 to ${MAX_DIMS}`,
      });
    }
    const shape = Array.from({ length: rank }, () => this.#bytes.u64('a dimension')).reverse();
    let elements = 1;
    for (const size of shape) elements *= size;
    if (shape.every(size => size > 0) && Number.isSafeInteger(8 * elements)) return shape;
    throw this.#fail('GG_TENSOR', 'the sizes of the tensor cannot be true', {
      tensor: quote(tensor),
      found: `[${shape.join(', ')}]`,
      expected: 'sizes above 0 whose product fits the file',
    });
  }

  #unknownType(tensor: string, number: number): ModelFormatError {
    const names: Readonly<Record<number, string>> = {
      3: 'Q4_1',
      6: 'Q5_0',
      7: 'Q5_1',
      10: 'Q2_K',
      11: 'Q3_K',
      13: 'Q5_K',
      15: 'Q8_K',
    };
    return this.#fail('GG_TYPE', 'this type of tensor is not supported', {
      tensor: quote(tensor),
      found: names[number] ?? `type ${number}`,
      expected: Object.keys(ggufTypes).join(', '),
      advice: 'Take the model in another quantisation, such as Q4_K or Q8_0 throughout.',
    });
  }

  #alignment(metadata: ReadonlyMap<string, GgufValue>): number {
    const alignment = metadata.get('general.alignment') ?? 32;
    const good =
      typeof alignment === 'number' &&
      alignment >= 8 &&
      alignment <= MAX_ALIGNMENT &&
      (alignment & (alignment - 1)) === 0;
    if (good) return alignment;
    throw this.#fail('GG_VALUE', 'the value of a key is not usable', {
      field: 'general.alignment',
      found: String(alignment),
      expected: `a power of two from 8 to ${MAX_ALIGNMENT}`,
    });
  }

  #place(part: Omit<GgufTensor, 'end'>, dataStart: number, alignment: number): GgufTensor {
    const { elements, bytes } = ggufTypes[part.type];
    const columns = part.shape.at(-1)!;
    if (columns % elements !== 0) {
      throw this.#fail('GG_TENSOR', 'the rows of the tensor are not whole blocks', {
        tensor: quote(part.name),
        found: `${columns} columns`,
        expected: `a multiple of ${elements} for ${part.type}`,
      });
    }
    const size = (part.shape.reduce((product, dim) => product * dim, 1) / elements) * bytes;
    const start = dataStart + part.start;
    if (part.start % alignment !== 0) {
      throw this.#fail('GG_TENSOR', 'the tensor does not begin at a multiple of the alignment', {
        tensor: quote(part.name),
        found: `offset ${part.start}`,
        expected: `a multiple of ${alignment}`,
      });
    }
    if (start + size <= this.#fileSize) return { ...part, start, end: start + size };
    throw this.#fail('GG_TRUNC', 'the file ends before a tensor does', {
      tensor: quote(part.name),
      found: `${this.#fileSize} bytes`,
      expected: `at least ${start + size}`,
      advice: 'The file is cut off: download it again.',
    });
  }

  #checkApart(tensors: readonly GgufTensor[]): void {
    const inOrder = [...tensors].sort((a, b) => a.start - b.start || a.end - b.end);
    for (let i = 1; i < inOrder.length; i++) {
      if (inOrder[i]!.start >= inOrder[i - 1]!.end) continue;
      throw this.#fail('GG_TENSOR', 'the tensor overlaps another', {
        tensor: quote(inOrder[i]!.name),
        found: quote(inOrder[i - 1]!.name),
      });
    }
  }

  #fail(
    code: string,
    summary: string,
    details: { field?: string; tensor?: string; found?: string; expected?: string; advice?: string },
  ): ModelFormatError {
    return new ModelFormatError(code, summary, { file: this.#file, ...details });
  }
}

const leastBytes: Readonly<Record<Exclude<ValueType, 'array'>, number>> = {
  u8: 1,
  i8: 1,
  bool: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  u64: 8,
  i64: 8,
  f64: 8,
  string: 8,
};
