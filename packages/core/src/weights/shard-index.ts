import { type ModelFormatDetails, ModelFormatError } from '../errors.ts';
import { isPlainFileName } from './file-name.ts';
import { type JsonCodes, scanJsonFile } from './json-file.ts';
import { type JsonHandler, type JsonLimits, quote } from './json-scan.ts';
import { MAX_NAME_BYTES, MAX_TENSORS, NameBudget } from './limits.ts';
import type { CheckpointTensor, ModelSource } from './types.ts';

/** Files that one checkpoint may be split over. */
const MAX_SHARDS = 1000;
const MAX_INDEX_BYTES = 100_000_000;
const limits: JsonLimits = {
  maxKeys: 2 * MAX_TENSORS,
  maxValues: 2 * MAX_TENSORS,
  maxKeyBytes: MAX_NAME_BYTES,
  maxStringBytes: 4096,
};
const codes: JsonCodes = { syntax: 'IX_JSON', utf8: 'IX_JSON', duplicate: 'IX_DUP', limit: 'IX_LIMIT' };

/** What model.safetensors.index.json or pytorch_model.bin.index.json says. */
export interface ShardIndex {
  /** File of each tensor. */
  readonly weightMap: ReadonlyMap<string, string>;
  /** File names in the order of their first mention. */
  readonly shards: readonly string[];
  /** metadata.total_size: bytes of all tensors, or null. */
  readonly totalSize: number | null;
}

/**
 * Reads the index of a sharded checkpoint. File names must be plain: a name with a separator or a drive could leave the folder.
 * @throws ModelFormatError with a code IX_*.
 */
export async function readShardIndex(source: ModelSource, file: string, fileSize: number): Promise<ShardIndex> {
  if (fileSize > MAX_INDEX_BYTES) {
    throw new ModelFormatError('IX_LIMIT', 'the index is too large', {
      file,
      found: `${fileSize} bytes`,
      expected: `at most ${MAX_INDEX_BYTES} bytes`,
    });
  }
  const reader = new IndexReader(file);
  await scanJsonFile(source, { file, start: 0, end: fileSize }, reader, limits, codes);
  return reader.finish();
}

class IndexReader implements JsonHandler {
  readonly keepStrings = true;
  readonly #file: string;
  readonly #budget: NameBudget;
  readonly #weightMap = new Map<string, string>();
  /** Each file name once, so that 200,000 entries share a few strings. */
  readonly #shards = new Map<string, string>();
  #totalSize: number | null = null;
  #sawMap = false;
  /** Open containers, and the last key of each open object. */
  readonly #path: string[] = [];

  constructor(file: string) {
    this.#file = file;
    this.#budget = new NameBudget(file, 'IX_LIMIT', MAX_TENSORS);
  }

  finish(): ShardIndex {
    if (!this.#sawMap || this.#weightMap.size === 0) {
      throw this.#bad('IX_MAP', this.#sawMap ? 'weight_map is empty' : 'weight_map is missing', {
        field: 'weight_map',
        expected: 'an object of tensor names and file names',
      });
    }
    return { weightMap: this.#weightMap, shards: [...this.#shards.keys()], totalSize: this.#totalSize };
  }

  beginObject(offset: number): void {
    if (this.#inMap()) throw this.#badEntry('an object', offset);
    if (this.#path.length === 1 && this.#path[0] === 'weight_map') this.#sawMap = true;
    this.#path.push('');
  }
  beginArray(offset: number): void {
    this.#value('an array', offset);
    this.#path.push('');
  }
  endObject(): void {
    this.#path.pop();
  }
  endArray(): void {
    this.#path.pop();
  }
  key(name: string): void {
    this.#path[this.#path.length - 1] = name;
    if (this.#inMap()) this.#budget.add(name);
  }
  string(value: string, offset: number): void {
    if (this.#inMap()) this.#mapTo(value, offset);
    else this.#value(quote(value), offset);
  }
  number(text: string, offset: number): void {
    const isTotal = this.#path.length === 2 && this.#path[0] === 'metadata' && this.#path[1] === 'total_size';
    if (isTotal && /^[0-9]{1,15}$/.test(text)) this.#totalSize = Number(text);
    this.#value(text, offset);
  }
  literal(value: boolean | null, offset: number): void {
    this.#value(`${value}`, offset);
  }

  #mapTo(file: string, offset: number): void {
    const tensor = this.#path[1]!;
    if (!isPlainFileName(file)) {
      throw this.#bad('IX_PATH', 'the file of a tensor is not a plain file name', {
        tensor: quote(tensor),
        offset,
        found: quote(file),
        expected: 'the name of a file in the model folder',
        advice: 'Do not use this folder if you do not know where it comes from: the index points outside of it.',
      });
    }
    let shard = this.#shards.get(file);
    if (shard === undefined) {
      if (this.#shards.size === MAX_SHARDS) {
        throw this.#bad('IX_LIMIT', 'the checkpoint has too many files', { expected: `at most ${MAX_SHARDS}` });
      }
      this.#shards.set(file, file);
      shard = file;
    }
    this.#weightMap.set(tensor, shard);
  }

  #inMap(): boolean {
    return this.#path.length === 2 && this.#path[0] === 'weight_map';
  }

  /** A value that is not an object: refused as root, as weight_map and inside it, ignored elsewhere. */
  #value(found: string, offset: number): void {
    if (this.#path.length === 0)
      throw this.#bad('IX_JSON', 'the index is not an object', { offset, found, expected: 'an object in braces' });
    if (this.#path.length === 1 && this.#path[0] === 'weight_map') {
      throw this.#bad('IX_MAP', 'weight_map is not an object', {
        field: 'weight_map',
        offset,
        found,
        expected: 'an object of tensor names and file names',
      });
    }
    if (this.#inMap()) throw this.#badEntry(found, offset);
  }
  #badEntry(found: string, offset: number): ModelFormatError {
    return this.#bad('IX_ENTRY', 'the file of a tensor is not a string', {
      tensor: quote(this.#path[1]!),
      offset,
      found,
      expected: 'a file name',
    });
  }
  #bad(code: string, summary: string, details: Omit<ModelFormatDetails, 'file'>): ModelFormatError {
    return new ModelFormatError(code, summary, { file: this.#file, ...details });
  }
}

/**
 * Joins the tensors of all shards, and checks that index and shards agree: a tensor that only one of them knows, or that lies in
 * two files, means that files of different checkpoints were mixed.
 * @throws ModelFormatError IX_TENSOR, IX_TWICE, IX_UNLISTED.
 */
export function joinShards(
  index: ShardIndex,
  shards: readonly (readonly CheckpointTensor[])[],
  file: string,
): { tensors: Map<string, CheckpointTensor>; notices: string[] } {
  const tensors = new Map<string, CheckpointTensor>();
  let total = 0;
  for (const tensor of shards.flat()) {
    const listed = index.weightMap.get(tensor.name);
    if (listed !== tensor.file) throw misplaced(tensor, listed, file);
    tensors.set(tensor.name, tensor);
    total += tensor.end - tensor.start;
  }
  for (const [name, shard] of index.weightMap) {
    if (tensors.has(name)) continue;
    throw new ModelFormatError('IX_TENSOR', 'the index lists a tensor that its file does not hold', {
      file,
      tensor: quote(name),
      expected: `the tensor in ${shard}`,
      advice: mixed,
    });
  }
  const odd = index.totalSize !== null && index.totalSize !== total;
  const notices = odd ? [`${file}: metadata.total_size is ${index.totalSize}, the tensors have ${total} bytes.`] : [];
  return { tensors, notices };
}

const mixed = 'Files of different checkpoints may be mixed: download the folder again.';

function misplaced(tensor: CheckpointTensor, listed: string | undefined, file: string): ModelFormatError {
  const summary =
    listed === undefined
      ? 'the file holds a tensor that the index does not list'
      : 'a tensor lies in another file than the index says';
  return new ModelFormatError(listed === undefined ? 'IX_UNLISTED' : 'IX_TWICE', summary, {
    file: tensor.file,
    tensor: quote(tensor.name),
    expected: listed === undefined ? `an entry in ${file}` : `it in ${listed} alone`,
    advice: mixed,
  });
}
