import { readdirSync, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Tokenizer } from '../../../packages/core/src/tokenizer/index.ts';
import { loadTokenizer } from '../../../packages/core/src/tokenizer/index.ts';
import { MemorySource } from '../../../packages/core/src/weights/memory-source.ts';

const models = fileURLToPath(new URL('../../../models/', import.meta.url));

export interface GoldenCase {
  name: string;
  prompt: string;
  promptTokenIds: number[];
  tokenIds: number[];
  finishReason: string;
  text: string;
}

/** A folder in memory: text, JSON values or bytes by file name. */
export function memoryFolder(files: Record<string, string | object | Uint8Array>): MemorySource {
  const utf8 = new TextEncoder();
  const toBytes = (file: string | object): Uint8Array => {
    if (file instanceof Uint8Array) return file;
    return utf8.encode(typeof file === 'string' ? file : JSON.stringify(file));
  };
  return new MemorySource(new Map(Object.entries(files).map(([name, file]) => [name, toBytes(file)])));
}

/** The files of a bundled checkpoint that are not weights. */
export function modelFiles(name: 'tiny-llama' | 'tiny-opt'): Record<string, Uint8Array> {
  const files: Record<string, Uint8Array> = {};
  for (const file of readdirSync(models + name)) {
    if (statSync(`${models}${name}/${file}`).size < 100_000)
      files[file] = new Uint8Array(readFileSync(`${models}${name}/${file}`));
  }
  return files;
}

export function loadBundled(name: 'tiny-llama' | 'tiny-opt'): Promise<Tokenizer> {
  return loadTokenizer(memoryFolder(modelFiles(name)));
}

export function goldenCases(name: 'tiny-llama' | 'tiny-opt'): GoldenCase[] {
  return JSON.parse(readFileSync(`${models}${name}/golden.json`, 'utf8')).cases;
}

/** A byte-level tokenizer.json with no merges, to be altered by a test. */
export function byteLevelJson(
  overrides: Record<string, unknown> = {},
  special: readonly string[] = ['<s>', '</s>'],
): Record<string, unknown> {
  const vocab: Record<string, number> = {};
  special.forEach((token, id) => {
    vocab[token] = id;
  });
  for (const char of byteAlphabet()) vocab[char] = Object.keys(vocab).length;
  return {
    added_tokens: special.map((content, id) => ({ id, content, special: true, normalized: false })),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab, merges: [] },
    ...overrides,
  };
}

/** The 256 characters of GPT-2's byte alphabet, by code point. */
export function byteAlphabet(): string[] {
  const codes: number[] = [];
  for (let c = 0x21; c <= 0x143; c++) if (c <= 0x7e || (c >= 0xa1 && c !== 0xad)) codes.push(c);
  return codes.map(code => String.fromCharCode(code));
}

/** Starts to count the milliseconds that this process computes: other work on the machine must not fail a test. */
export function cpuClock(): () => number {
  const start = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000;
  };
}
