import { type ModelFormatDetails, ModelFormatError } from '../errors.ts';
import { type JsonCodes, scanJsonFile } from './json-file.ts';
import { type JsonHandler, type JsonLimits, quote } from './json-scan.ts';
import { JsonTreeBuilder, type JsonValue, showJson } from './json-tree.ts';
import { MAX_FILE_TENSORS, MAX_NAME_BYTES, MAX_RANK, NameBudget } from './limits.ts';
import { describeMagic } from './magic.ts';
import { type CheckpointDType, type CheckpointTensor, checkpointDTypeBytes, type ModelSource } from './types.ts';

/** The format's own limit. */
const MAX_HEADER_BYTES = 100_000_000;
const headerLimits: JsonLimits = {
  maxKeys: 5 * MAX_FILE_TENSORS,
  maxValues: 20 * MAX_FILE_TENSORS,
  maxKeyBytes: MAX_NAME_BYTES,
  maxStringBytes: 256,
};
const MAX_ENTRY_VALUES = 64;
const MAX_METADATA_KEYS = 10_000;
const codes: JsonCodes = { syntax: 'ST_JSON', utf8: 'ST_UTF8', duplicate: 'ST_DUP', limit: 'ST_LIMIT' };

const dtypes: ReadonlyMap<JsonValue | undefined, CheckpointDType> = new Map([
  ['F64', 'f64'],
  ['F32', 'f32'],
  ['F16', 'f16'],
  ['BF16', 'bf16'],
  ['I64', 'i64'],
  ['I32', 'i32'],
  ['I8', 'i8'],
  ['U32', 'u32'],
  ['U8', 'u8'],
  ['BOOL', 'bool'],
]);

/**
 * Reads the header of one safetensors file: an 8-byte little-endian length, that many bytes of JSON, then the tensors' bytes. The
 * header is trusted in nothing: every range must lie in the file, be as long as dtype and shape say, and the ranges together must
 * cover the data without hole or overlap. What the reference reader accepts is accepted, but for: dtypes that no supported model
 * uses, ranks above 8, names above 1,024 bytes, more than 100,000 tensors.
 * @throws ModelFormatError with a code ST_*.
 */
export async function readSafetensors(
  source: ModelSource,
  file: string,
  fileSize: number,
): Promise<CheckpointTensor[]> {
  const dataStart = 8 + (await readHeaderLength(source, file, fileSize));
  const header = new HeaderReader(file, dataStart, fileSize);
  await scanJsonFile(source, { file, start: 8, end: dataStart }, header, headerLimits, codes);
  checkCover(header.tensors, file, dataStart, fileSize);
  return header.tensors;
}

async function readHeaderLength(source: ModelSource, file: string, fileSize: number): Promise<number> {
  if (fileSize < 8) {
    throw new ModelFormatError('ST_TOO_SMALL', 'the file is too small for a safetensors header', {
      file,
      found: `${fileSize} bytes`,
      expected: 'at least 8 bytes',
      advice: 'Download the file again.',
    });
  }
  const head = await source.read(file, 0, 8);
  const length = new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true);
  const room = Math.min(fileSize - 8, MAX_HEADER_BYTES);
  if (length >= 2n && length <= BigInt(room)) return Number(length);
  const magic = describeMagic(head);
  throw new ModelFormatError('ST_HEADER_LEN', 'the header length cannot be true', {
    file,
    offset: 0,
    found: magic === null ? `${length}` : `${length} (the file begins like ${magic})`,
    expected: `2 to ${room} bytes`,
    advice: magic === null ? 'Download the file again.' : 'This is another format with a wrong name.',
  });
}

/** Takes the header's members one by one, so that no more than one entry is held as a tree. */
class HeaderReader implements JsonHandler {
  readonly tensors: CheckpointTensor[] = [];
  readonly #file: string;
  readonly #dataStart: number;
  readonly #fileSize: number;
  readonly #budget: NameBudget;
  readonly #tree = new JsonTreeBuilder();
  #depth = 0;
  #name = '';
  #inMetadata = false;
  #entryValues = 0;
  #metadataKeys = 0;

  constructor(file: string, dataStart: number, fileSize: number) {
    this.#file = file;
    this.#dataStart = dataStart;
    this.#fileSize = fileSize;
    this.#budget = new NameBudget(file, 'ST_LIMIT', MAX_FILE_TENSORS);
  }

  get keepStrings(): boolean {
    return !this.#inMetadata;
  }

  beginObject(offset: number): void {
    if (this.#depth === 0) {
      this.#depth = 1;
      return;
    }
    this.#open(offset);
    if (!this.#inMetadata) this.#tree.beginObject();
  }
  beginArray(offset: number): void {
    if (this.#depth === 0) throw this.#notAnObject(offset);
    if (this.#inMetadata) throw this.#badMetadata('an array', offset);
    this.#open(offset);
    this.#tree.beginArray();
  }
  endObject(): void {
    this.#depth--;
    if (this.#depth === 0) return;
    if (!this.#inMetadata) this.#tree.endObject();
    this.#afterValue();
  }
  endArray(): void {
    this.#depth--;
    this.#tree.endArray();
    this.#afterValue();
  }
  key(name: string, offset: number): void {
    if (this.#depth > 1) {
      if (!this.#inMetadata) this.#tree.key(name);
      else if (++this.#metadataKeys > MAX_METADATA_KEYS) throw this.#tooMuchMetadata(offset);
      return;
    }
    this.#name = name;
    this.#inMetadata = name === '__metadata__';
    if (!this.#inMetadata) this.#budget.add(name);
  }
  string(value: string, offset: number): void {
    if (this.#depth === 0) throw this.#notAnObject(offset);
    if (!this.#inMetadata) this.#tree.string(value);
    else if (this.#depth === 1) throw this.#badMetadata('a string', offset);
    this.#afterValue();
  }
  number(text: string, offset: number): void {
    if (this.#depth === 0) throw this.#notAnObject(offset);
    if (this.#inMetadata) throw this.#badMetadata(text, offset);
    this.#countValue(offset);
    this.#tree.number(text);
    this.#afterValue();
  }
  literal(value: boolean | null, offset: number): void {
    if (this.#depth === 0) throw this.#notAnObject(offset);
    if (!this.#inMetadata) this.#tree.literal(value);
    else if (this.#depth > 1 || value !== null) throw this.#badMetadata(`${value}`, offset);
    this.#afterValue();
  }

  #open(offset: number): void {
    if (this.#inMetadata && this.#depth > 1) throw this.#badMetadata('a nested object', offset);
    this.#countValue(offset);
    this.#depth++;
  }

  /** Fields that we do not know are accepted, as the reference does, as long as the entry stays small. */
  #countValue(offset: number): void {
    if (this.#inMetadata || ++this.#entryValues <= MAX_ENTRY_VALUES) return;
    throw this.#bad('ST_ENTRY', 'the entry is too large', {
      offset: 8 + offset,
      expected: 'dtype, shape and data_offsets',
    });
  }

  #afterValue(): void {
    if (this.#depth > 1) return;
    if (!this.#inMetadata) this.tensors.push(this.#entry(this.#tree.take()));
    this.#inMetadata = false;
    this.#entryValues = 0;
  }

  #entry(value: JsonValue): CheckpointTensor {
    const name = this.#name;
    if (!(value instanceof Map)) {
      throw this.#bad('ST_ENTRY', 'the entry is not an object', {
        found: showJson(value),
        expected: 'an object with dtype, shape and data_offsets',
      });
    }
    const dtype = this.#dtype(value.get('dtype'));
    const shape = this.#shape(value.get('shape'));
    const [begin, end] = this.#offsets(value.get('data_offsets'));
    const bytes = this.#byteLength(shape, dtype);
    if (end - begin !== bytes) {
      throw this.#bad('ST_OFFS', 'the byte range does not fit dtype and shape', {
        found: `${end - begin} bytes`,
        expected: `${bytes} bytes for ${dtype} [${shape}]`,
      });
    }
    const room = this.#fileSize - this.#dataStart;
    if (end > room) {
      throw this.#bad('ST_TRUNC', 'the tensor ends after the end of the file', {
        found: `data_offsets up to ${end}`,
        expected: `at most ${room}`,
        advice: 'The file is cut off: download it again.',
      });
    }
    return { name, dtype, shape, file: this.#file, start: this.#dataStart + begin, end: this.#dataStart + end };
  }

  #dtype(value: JsonValue | undefined): CheckpointDType {
    const dtype = dtypes.get(value);
    if (dtype !== undefined) return dtype;
    const code = typeof value === 'string' ? 'ST_DTYPE' : 'ST_ENTRY';
    throw this.#bad(code, 'this dtype is not supported', {
      field: 'dtype',
      found: showJson(value),
      expected: `one of ${[...dtypes.keys()].join(', ')}`,
    });
  }

  #shape(value: JsonValue | undefined): number[] {
    if (!Array.isArray(value))
      throw this.#bad('ST_ENTRY', 'the shape is missing or no array', {
        field: 'shape',
        found: showJson(value),
        expected: 'an array of sizes',
      });
    if (value.length > MAX_RANK)
      throw this.#bad('ST_SHAPE', 'the tensor has too many dimensions', {
        field: 'shape',
        found: `${value.length}`,
        expected: `at most ${MAX_RANK}`,
      });
    return value.map(size => {
      if (isSize(size)) return size;
      throw this.#bad('ST_SHAPE', 'a dimension is not a size', {
        field: 'shape',
        found: showJson(size),
        expected: 'an integer from 0 to 2^53 - 1',
      });
    });
  }

  #offsets(value: JsonValue | undefined): [number, number] {
    if (!Array.isArray(value)) {
      throw this.#bad('ST_ENTRY', 'the byte range is missing or no array', {
        field: 'data_offsets',
        found: showJson(value),
        expected: 'an array of two offsets',
      });
    }
    const [begin, end] = value;
    if (value.length === 2 && isSize(begin) && isSize(end) && begin <= end) return [begin, end];
    throw this.#bad('ST_OFFS', 'this is not a byte range', {
      field: 'data_offsets',
      found: `[${value.slice(0, 3).map(showJson).join(', ')}${value.length > 3 ? ', ...' : ''}]`,
      expected: '[begin, end] with 0 <= begin <= end',
    });
  }

  #byteLength(shape: readonly number[], dtype: CheckpointDType): number {
    let bytes = checkpointDTypeBytes[dtype];
    for (const size of shape) {
      bytes *= size;
      if (bytes > Number.MAX_SAFE_INTEGER) {
        throw this.#bad('ST_SHAPE', 'the tensor is larger than any file', {
          field: 'shape',
          found: `[${shape}]`,
          expected: 'at most 2^53 - 1 bytes',
        });
      }
    }
    return bytes;
  }

  #bad(code: string, summary: string, details: Omit<ModelFormatDetails, 'file' | 'tensor'>): ModelFormatError {
    return new ModelFormatError(code, summary, { file: this.#file, tensor: quote(this.#name), ...details });
  }
  #badMetadata(found: string, offset: number): ModelFormatError {
    return new ModelFormatError('ST_META', '__metadata__ holds something other than strings', {
      file: this.#file,
      offset: 8 + offset,
      found,
      expected: 'an object of strings',
    });
  }
  #tooMuchMetadata(offset: number): ModelFormatError {
    return new ModelFormatError('ST_LIMIT', '__metadata__ is larger than any real model needs', {
      file: this.#file,
      offset: 8 + offset,
      expected: `at most ${MAX_METADATA_KEYS} keys`,
    });
  }
  #notAnObject(offset: number): ModelFormatError {
    return new ModelFormatError('ST_JSON', 'the header is not a JSON object', {
      file: this.#file,
      offset: 8 + offset,
      expected: 'an object in braces',
    });
  }
}

function isSize(value: JsonValue | undefined): value is number {
  return typeof value === 'number' && value >= 0 && !Object.is(value, -0);
}

/** The ranges, in file order, must follow one another from the first byte of data to the last. */
function checkCover(tensors: readonly CheckpointTensor[], file: string, dataStart: number, fileSize: number): void {
  const inOrder = [...tensors].sort((a, b) => a.start - b.start || a.end - b.end);
  let at = dataStart;
  for (const tensor of inOrder) {
    if (tensor.start !== at) {
      throw new ModelFormatError(
        'ST_OFFS',
        tensor.start < at ? 'the tensor overlaps another' : 'there is a hole before the tensor',
        {
          file,
          tensor: quote(tensor.name),
          found: `data_offsets from ${tensor.start - dataStart}`,
          expected: `from ${at - dataStart}`,
        },
      );
    }
    at = tensor.end;
  }
  if (at === fileSize) return;
  throw new ModelFormatError('ST_OFFS', 'bytes after the last tensor belong to none', {
    file,
    offset: at,
    found: `${fileSize - at} bytes`,
    expected: 'the end of the file',
  });
}
