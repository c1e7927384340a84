import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import {
  type Checkpoint,
  type CheckpointTensor,
  ConfigError,
  type ModelSource,
  openCheckpoint,
  tensorChunks,
  type WeightCache,
} from '@quire/core';
import { elementBytes, type FloatDType, shapeBytes } from '@quire/core/contract';
import { privateCacheFolder } from './cache-folder.ts';
import { openFolderSource } from './folder-source.ts';

/** Changes when what is written does: older entries are then not found. */
const LAYOUT = 1;
const WEIGHTS = 'model.safetensors';
const MANIFEST = 'manifest.json';

interface Conversion {
  readonly tensor: CheckpointTensor;
  readonly dtype: FloatDType;
}

/** Rounded weights of a model as safetensors files below `folder` (default: the cache of this user), one entry per set of dtypes. */
export function openWeightCache(source: ModelSource, folder: string | null): FolderWeightCache {
  return new FolderWeightCache(source, join(folder ?? privateCacheFolder(), 'quire-weights'));
}

export class FolderWeightCache implements WeightCache {
  readonly #source: ModelSource;
  readonly #root: string;
  readonly #opened: ModelSource[] = [];

  constructor(source: ModelSource, root: string) {
    this.#source = source;
    this.#root = root;
  }

  async converted(checkpoint: Checkpoint, dtypes: ReadonlyMap<string, FloatDType>): Promise<Checkpoint> {
    const conversions = [...dtypes]
      .map(([name, dtype]) => ({ tensor: checkpoint.tensors.get(name)!, dtype }))
      .filter(isSlow)
      .sort((a, b) => (a.tensor.name < b.tensor.name ? -1 : 1));
    if (conversions.length === 0) return checkpoint;
    const entry = join(this.#root, await this.#key(conversions));
    if (!(await isIntact(entry))) await writeEntry(entry, checkpoint, conversions);
    const source = await openFolderSource(entry);
    this.#opened.push(source);
    return merged(checkpoint, await openCheckpoint(source));
  }

  async close(): Promise<void> {
    for (const source of this.#opened.splice(0)) await source.close();
  }

  /** Of the contents of the model's files, as their stamps tell, and of every conversion. */
  async #key(conversions: readonly Conversion[]): Promise<string> {
    const source = this.#source;
    if (source.stamp === undefined) {
      throw new ConfigError(
        'loadFormat npcache needs a model folder, whose files tell when they change.',
        'loadFormat',
      );
    }
    const files = [...new Set(conversions.map(({ tensor }) => tensor.file))].sort();
    const stamps = await Promise.all(files.map(async file => [file, await source.stamp!(file)]));
    return createHash('sha256')
      .update(JSON.stringify([LAYOUT, stamps, conversions]))
      .digest('hex');
  }
}

/** Rounding to 16 bits takes several times as long as to read the result; to widen takes no longer than to read what is twice as large. */
function isSlow({ tensor, dtype }: Conversion): boolean {
  return tensor.dtype !== dtype && elementBytes(dtype) === 2;
}

/** The checkpoint, with the tensors of another in place of its own of the same name. */
function merged(checkpoint: Checkpoint, converted: Checkpoint): Checkpoint {
  const own = new Set(converted.tensors.values());
  return {
    tensors: new Map([...checkpoint.tensors, ...converted.tensors]),
    stream: tensor => (isPartOf(tensor, own) ? converted : checkpoint).stream(tensor),
    ...(checkpoint.records && { records: (tensor: CheckpointTensor) => checkpoint.records!(tensor) }),
  };
}

/** Row ranges of a tensor are tensors of their own, under its name. */
function isPartOf(part: CheckpointTensor, tensors: ReadonlySet<CheckpointTensor>): boolean {
  for (const { name, dtype } of tensors) if (name === part.name && dtype === part.dtype) return true;
  return false;
}

/** Whether the entry is there and is what was written: a file that was damaged is made anew. */
async function isIntact(entry: string): Promise<boolean> {
  try {
    const { sha256 } = JSON.parse(await readFile(join(entry, MANIFEST), 'utf8')) as { sha256: unknown };
    const hash = createHash('sha256');
    await pipeline(createReadStream(join(entry, WEIGHTS), { highWaterMark: 1 << 20 }), hash);
    return hash.digest('hex') === sha256;
  } catch {
    return false;
  }
}

/** Writes beside the entry and renames, so that nobody sees half of it. */
async function writeEntry(entry: string, checkpoint: Checkpoint, conversions: readonly Conversion[]): Promise<void> {
  await mkdir(join(entry, '..'), { recursive: true, mode: 0o700 });
  const staging = await mkdtemp(`${entry}.`);
  try {
    const sha256 = await writeSafetensors(join(staging, WEIGHTS), checkpoint, conversions);
    await writeFile(join(staging, MANIFEST), JSON.stringify({ sha256 }));
    await rm(entry, { recursive: true, force: true });
    await rename(staging, entry);
  } catch (error) {
    await rm(staging, { recursive: true, force: true });
    if (!(await isIntact(entry))) throw error;
  }
}

/** Returns the SHA-256 of the file. */
async function writeSafetensors(
  path: string,
  checkpoint: Checkpoint,
  conversions: readonly Conversion[],
): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'wx', 0o600);
  const write = async (bytes: Uint8Array) => {
    hash.update(bytes);
    await file.writeFile(bytes);
  };
  try {
    await write(safetensorsHeader(conversions));
    for (const { tensor, dtype } of conversions) {
      for await (const chunk of tensorChunks(checkpoint, tensor, dtype)) await write(chunk);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}

function safetensorsHeader(conversions: readonly Conversion[]): Uint8Array {
  let at = 0;
  const entries = conversions.map(({ tensor, dtype }) => {
    const bytes = shapeBytes(dtype, tensor.shape);
    const entry = { dtype: dtype.toUpperCase(), shape: tensor.shape, data_offsets: [at, at + bytes] };
    at += bytes;
    return [tensor.name, entry];
  });
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const padded = Math.ceil(json.length / 8) * 8;
  const header = Buffer.alloc(8 + padded, ' ');
  header.writeBigUInt64LE(BigInt(padded));
  json.copy(header, 8);
  return header;
}
