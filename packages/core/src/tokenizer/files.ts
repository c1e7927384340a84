import { ModelFormatError } from '../errors.ts';
import { type JsonCodes, scanJsonFile } from '../weights/json-file.ts';
import { JsonTreeBuilder } from '../weights/json-tree.ts';
import type { ModelSource } from '../weights/types.ts';
import { JsonFields } from './json-fields.ts';

const MIB = 1024 * 1024;

/** Largest sizes in bytes; real files stay below a quarter of these. */
const MAX_TOKENIZER_BYTES = 96 * MIB;
const MAX_SMALL_BYTES = 8 * MIB;

const jsonLimits = { maxKeys: 4_000_000, maxValues: 12_000_000, maxKeyBytes: 16_384, maxStringBytes: 4 * MIB };

const jsonCodes: JsonCodes = {
  syntax: 'TOKENIZER_NOT_JSON',
  utf8: 'TOKENIZER_NOT_UTF8',
  duplicate: 'TOKENIZER_DUPLICATE_KEY',
  limit: 'TOKENIZER_TOO_LARGE',
};

/** The files of a model folder that describe its tokenizer, read with caps on their size. */
export class TokenizerFiles {
  readonly source: ModelSource;
  readonly names: ReadonlySet<string>;

  private constructor(source: ModelSource, names: ReadonlySet<string>) {
    this.source = source;
    this.names = names;
  }

  static async list(source: ModelSource): Promise<TokenizerFiles> {
    return new TokenizerFiles(source, new Set(await source.list()));
  }

  has(file: string): boolean {
    return this.names.has(file);
  }

  /** A vocabulary file: tokenizer.json or vocab.json. */
  readVocabulary(file: string): Promise<JsonFields> {
    return this.#readJson(file, MAX_TOKENIZER_BYTES);
  }

  /** A configuration file; an empty object when the folder has none. */
  async readConfig(file: string): Promise<JsonFields> {
    return this.has(file) ? this.#readJson(file, MAX_SMALL_BYTES) : new JsonFields(file, '', new Map());
  }

  async readText(file: string): Promise<string> {
    const size = await this.#checkedSize(file, MAX_TOKENIZER_BYTES);
    const bytes = await this.source.read(file, 0, size);
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      throw new ModelFormatError('TOKENIZER_NOT_UTF8', 'this is not UTF-8', { file, expected: 'UTF-8 text' });
    }
  }

  async #readJson(file: string, maxBytes: number): Promise<JsonFields> {
    const end = await this.#checkedSize(file, maxBytes);
    const tree = new JsonTreeBuilder();
    await scanJsonFile(this.source, { file, start: 0, end }, tree, jsonLimits, jsonCodes);
    return new JsonFields(file, '', tree.take());
  }

  async #checkedSize(file: string, maxBytes: number): Promise<number> {
    const size = await this.source.size(file);
    if (size === null)
      throw new ModelFormatError('TOKENIZER_MISSING', 'the file is listed but cannot be opened', { file });
    if (size <= maxBytes) return size;
    const found = `${size} bytes`;
    throw new ModelFormatError('TOKENIZER_TOO_LARGE', 'the file is too large', {
      file,
      found,
      expected: `at most ${maxBytes} bytes`,
    });
  }
}
