import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type EngineConfig, type ModelSource, wantedWeights } from '@quire/core';
import { openModelSource } from '../node/model-folder.ts';
import { version } from '../version.ts';
import type { Card } from './meeting.ts';

/** Options by which ranks come to what they compute. The others are rank 0's alone. */
const sharedOptions = [
  'tensorParallelSize',
  'pipelineParallelSize',
  'dtype',
  'quantization',
  'loadFormat',
  'runner',
  'poolerConfig',
  'enforceEager',
  'batchInvariant',
] as const satisfies readonly (keyof EngineConfig)[];
export type CardConfig = Pick<EngineConfig, (typeof sharedOptions)[number] | 'seed'>;

/** A file up to this size is compared whole. */
const WHOLE_BYTES = 1 << 20;
/** Of a larger one: its size, its beginning, and so many pieces of this size, evenly from the rest to its end. */
const PIECES = 64;
const PIECE_BYTES = 4096;

/** Opens the model of a configuration for `rankCard`. */
export async function cardOf(kind: string, config: EngineConfig): Promise<Card> {
  const source = await openModelSource(config.model, { ...config, weights: wantedWeights(config) });
  return rankCard(kind, config, source).finally(() => source.close());
}

/**
 * What this process has, to be compared with what rank 0 has: Quire's version, the kind of device, options, and the digests of the
 * files that ranks read. Large files are compared by samples: reading them whole would take as long as loading them.
 */
export async function rankCard(kind: string, config: CardConfig, source: ModelSource): Promise<Card> {
  const isDummy = config.loadFormat === 'dummy';
  const names = isDummy ? [...sharedOptions, 'seed' as const] : sharedOptions;
  const options = names.map(name => [name, show(config[name])] as const);
  const files: [string, string][] = [];
  for (const name of filesOf(await source.list(), isDummy)) {
    files.push([`the model's ${name}`, await digestOf(source, name)]);
  }
  const quire = `${version} (engine ${await codeDigest()})`;
  return Object.fromEntries([['Quire', quire], ['device', kind], ...options, ...files]);
}

/** Of the engine: what it says to a device, and how it lays out weights, changes between two versions too. */
async function codeDigest(): Promise<string> {
  const folder = dirname(createRequire(import.meta.url).resolve('@quire/core'));
  const names = await readdir(folder, { recursive: true });
  const hash = createHash('sha256');
  for (const name of names.filter(name => /(?<!\.d)\.[jt]s$/.test(name)).sort()) {
    hash.update(`${name}\n`).update(await readFile(join(folder, name)));
  }
  return hash.digest('hex').slice(0, 12);
}

/** Those that a rank reads. */
function filesOf(names: readonly string[], isDummy: boolean): string[] {
  const weights = names.filter(name => /\.(safetensors|gguf)(\.index\.json)?$/.test(name));
  const pickled = names.filter(name => /\.bin(\.index\.json)?$/.test(name));
  const read = isDummy ? [] : weights.length > 0 ? weights : pickled;
  return [...names.filter(name => name === 'config.json'), ...read.sort()];
}

async function digestOf(source: ModelSource, file: string): Promise<string> {
  const size = (await source.size(file)) ?? 0;
  const hash = createHash('sha256').update(`${size}\n`);
  hash.update(await source.read(file, 0, Math.min(size, WHOLE_BYTES)));
  if (size > WHOLE_BYTES) {
    const step = (size - WHOLE_BYTES) / PIECES;
    for (let piece = 1; piece <= PIECES; piece++) {
      const end = Math.floor(WHOLE_BYTES + piece * step);
      hash.update(await source.read(file, Math.max(0, end - PIECE_BYTES), end));
    }
  }
  return `sha256 ${hash.digest('hex').slice(0, 16)} of ${size} bytes`;
}

function show(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
