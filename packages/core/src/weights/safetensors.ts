import { ModelFormatError } from '../errors.ts';
import { type JsonCodes, scanJsonFile } from './json-file.ts';
import { type JsonHandler, type JsonLimits, quote } from './json-scan.ts';
import { JsonTreeBuilder } from './json-tree.ts';
import { MAX_FILE_TENSORS, MAX_NAME_BYTES, NameBudget } from './limits.ts';
import { describeMagic } from './magic.ts';
import { SafetensorsEntries } from './safetensors-entry.ts';
import type { CheckpointTensor, ModelSource } from './types.ts';

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
  readonly #entries: SafetensorsEntries;
  readonly #budget: NameBudget;
  readonly #tree = new JsonTreeBuilder();
  #depth = 0;
  #name = '';
  #inMetadata = false;
  #entryValues = 0;
  #metadataKeys = 0;

  constructor(file: string, dataStart: number, fileSize: number) {
    this.#file = file;
    this.#entries = new SafetensorsEntries(file, dataStart, fileSize);
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
    throw new ModelFormatError('ST_ENTRY', 'the entry is too large', {
      file: this.#file,
      tensor: quote(this.#name),
      offset: 8 + offset,
      expected: 'dtype, shape and data_offsets',
    });
  }

  #afterValue(): void {
    if (this.#depth > 1) return;
    if (!this.#inMetadata) this.tensors.push(this.#entries.read(this.#name, this.#tree.take()));
    this.#inMetadata = false;
    this.#entryValues = 0;
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
