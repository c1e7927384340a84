import { ModelFormatError } from '../errors.ts';
import { type JsonFault, JsonScanError } from './json-error.ts';
import { type JsonHandler, type JsonLimits, JsonScanner } from './json-scan.ts';
import { JsonTreeBuilder, type JsonValue } from './json-tree.ts';
import type { ModelSource } from './types.ts';

const CHUNK = 256 * 1024;

/** Limits of the small JSON files of a model folder: far above any real one. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;
const fileLimits: JsonLimits = { maxKeys: 50_000, maxValues: 200_000, maxKeyBytes: 4096, maxStringBytes: 1024 * 1024 };

/** The ModelFormatError codes of a kind of file, by what is wrong with its JSON. */
export type JsonCodes = Readonly<Record<JsonFault, string>>;

const summaries: JsonCodes = {
  syntax: 'this is not JSON',
  utf8: 'this is not UTF-8',
  duplicate: 'a key occurs twice, so readers would disagree on its value',
  limit: 'this is larger than any real model needs',
};

/**
 * Scans bytes [start, end) of a file as one JSON text, in chunks through one buffer. JSON faults become a ModelFormatError with
 * the code that `codes` gives, and the byte offset in the file; errors of the handler pass through.
 */
export async function scanJsonFile(
  source: ModelSource,
  region: { file: string; start: number; end: number },
  handler: JsonHandler,
  limits: JsonLimits,
  codes: JsonCodes,
): Promise<void> {
  const { file, start, end } = region;
  const scanner = new JsonScanner(handler, limits);
  const buffer = new Uint8Array(Math.min(CHUNK, end - start));
  try {
    for (let at = start; at < end; at += CHUNK) {
      scanner.push(await source.read(file, at, Math.min(end, at + CHUNK), buffer));
    }
    scanner.end();
  } catch (error) {
    if (!(error instanceof JsonScanError)) throw error;
    const { fault, found, expected } = error;
    throw new ModelFormatError(codes[fault], summaries[fault], { file, offset: start + error.offset, found, expected });
  }
}

/**
 * Reads a small JSON file.
 * @returns its value, or undefined when the file does not exist.
 * @throws ModelFormatError with one of `codes`.
 */
export async function readJson(source: ModelSource, file: string, codes: JsonCodes): Promise<JsonValue | undefined> {
  const size = await source.size(file);
  if (size === null) return undefined;
  if (size > MAX_FILE_BYTES) {
    throw new ModelFormatError(codes.limit, summaries.limit, {
      file,
      found: `${size} bytes`,
      expected: `at most ${MAX_FILE_BYTES} bytes`,
    });
  }
  const tree = new JsonTreeBuilder();
  await scanJsonFile(source, { file, start: 0, end: size }, tree, fileLimits, codes);
  return tree.take();
}

/** The members of a small JSON file whose root is an object (config.json and the like), or null when it does not exist. */
export async function readJsonObject(
  source: ModelSource,
  file: string,
  codes: JsonCodes,
): Promise<Map<string, JsonValue> | null> {
  const root = await readJson(source, file, codes);
  if (root === undefined) return null;
  if (root instanceof Map) return root;
  throw new ModelFormatError(codes.syntax, 'this is not a JSON object', { file, expected: 'an object in braces' });
}
