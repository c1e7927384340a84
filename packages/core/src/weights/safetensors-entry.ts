import { type ModelFormatDetails, ModelFormatError } from '../errors.ts';
import { quote } from './json-scan.ts';
import { type JsonValue, showJson } from './json-tree.ts';
import { MAX_RANK } from './limits.ts';
import { type CheckpointDType, type CheckpointTensor, checkpointDTypeBytes } from './types.ts';

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
  ['F8_E4M3', 'f8e4m3'],
  ['BOOL', 'bool'],
]);

/** Checks the entries of one header: types, ranges, and that they fit each other and the file. */
export class SafetensorsEntries {
  readonly #file: string;
  readonly #dataStart: number;
  readonly #fileSize: number;
  #name = '';

  /** `dataStart`: where the tensors' bytes begin. */
  constructor(file: string, dataStart: number, fileSize: number) {
    this.#file = file;
    this.#dataStart = dataStart;
    this.#fileSize = fileSize;
  }

  /**
   * The tensor that an entry of the header describes.
   * @throws ModelFormatError ST_ENTRY, ST_DTYPE, ST_SHAPE, ST_OFFS, ST_TRUNC.
   */
  read(name: string, value: JsonValue): CheckpointTensor {
    this.#name = name;
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
}

function isSize(value: JsonValue | undefined): value is number {
  return typeof value === 'number' && value >= 0 && !Object.is(value, -0);
}
