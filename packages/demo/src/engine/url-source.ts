import { ConfigError, ModelFormatError, type ModelSource, parseModelConfig } from '@quire/core';
import { bytes as inWords } from '../format.ts';
import { type Downloaded, download, isWhole, openStore, remoteSize, type Store, storedBytes } from './download.ts';
import type { OnProgress } from './messages.ts';
import { NoRangesError, RangedSource } from './ranged-source.ts';

/** Files that may be there; weights are named by what is found. */
const SMALL = ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json'];
const WEIGHTS = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';

/** Looks at a model whose weights are not here yet: only headers of them should be read. Throws to refuse it. */
export type CheckModel = (source: ModelSource) => Promise<void>;

/**
 * Fetches a model in Hugging Face's layout into the browser's storage, and opens it from there. The address is
 * a page of the hub, or any folder of files. Throws ModelFormatError when files are missing, do not fit, or change under a download,
 * and what `check` throws before weights are fetched.
 */
export async function openUrl(address: string, progress: OnProgress, check: CheckModel): Promise<ModelSource> {
  const base = fileBase(address);
  const store = await openStore(base);
  const files = new Map<string, Downloaded>();
  const fetchFile = async (file: string) => {
    const found = await download(store, new URL(file, base), file, (loaded, total) => progress(file, loaded, total));
    if (found !== null) files.set(file, found);
    return found;
  };
  const source = new StoredSource(address, files);
  try {
    for (const file of SMALL) await fetchFile(file);
    // A model that the engine does not know is refused before its weights are fetched.
    await parseModelConfig(source);
    const shards = (await fetchFile(INDEX)) === null ? [WEIGHTS] : await shardsOf(source);
    await checkWeights({ source, store, base, shards }, check);
    for (const shard of shards) {
      if ((await fetchFile(shard)) !== null) continue;
      throw new ModelFormatError('IO_ERROR', 'the server has no such file', { file: shard });
    }
    return source;
  } catch (error) {
    // A file can be open once: the next attempt needs them.
    await source.close();
    throw error;
  }
}

/** The folder of files behind an address; on the hub that of a revision, `main` where none is named. */
function fileBase(address: string): string {
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    throw new ConfigError(`"${address}" is no address. Give one such as https://huggingface.co/org/name.`, 'url');
  }
  const [owner, name, kind, revision = 'main'] = url.pathname.split('/').filter(part => part !== '');
  const isHub =
    url.hostname === 'huggingface.co' &&
    owner !== undefined &&
    name !== undefined &&
    (kind === undefined || kind === 'tree');
  if (isHub) return `${url.origin}/${owner}/${name}/resolve/${revision}/`;
  return url.href.endsWith('/') ? url.href : `${url.href}/`;
}

async function shardsOf(source: ModelSource): Promise<string[]> {
  const bytes = await source.read(INDEX, 0, (await source.size(INDEX))!);
  const map = (JSON.parse(new TextDecoder().decode(bytes)) as { weight_map?: Record<string, string> }).weight_map ?? {};
  const shards = [...new Set(Object.values(map))];
  const odd = shards.find(shard => typeof shard !== 'string' || !/^[\w.-]+\.safetensors$/.test(shard));
  if (shards.length > 0 && odd === undefined) return shards;
  throw new ModelFormatError(
    'IO_ERROR',
    `names no safetensors files of this folder${odd === undefined ? '' : `: ${odd}`}`,
    { file: INDEX },
  );
}

interface Weights {
  readonly source: ModelSource;
  readonly store: Store;
  readonly base: string;
  readonly shards: readonly string[];
}

/** Before anything large is fetched: whether this browser keeps it, and the device has room for it. */
async function checkWeights({ source, store, base, shards }: Weights, check: CheckModel): Promise<void> {
  const sizes = new Map<string, number>();
  let missing = 0;
  for (const shard of shards) {
    if (await isWhole(store, shard)) continue;
    const size = await remoteSize(new URL(shard, base));
    if (size === null) return;
    sizes.set(shard, size);
    missing += size - (await storedBytes(store, shard));
  }
  if (sizes.size === 0) return;
  await checkStorage(missing);
  try {
    if (sizes.size === shards.length) await check(new RangedSource(source, base, sizes));
  } catch (error) {
    // Then the engine says so once the weights are here.
    if (!(error instanceof NoRangesError)) throw error;
  }
}

async function checkStorage(bytes: number): Promise<void> {
  const { quota, usage = 0 } = await navigator.storage.estimate();
  if (quota === undefined || bytes <= quota - usage) return;
  throw new ModelFormatError(
    'IO_ERROR',
    `${inWords(bytes)} of weights are to be fetched, and this browser has room for ${inWords(quota - usage)}. Remove stored models, or take a smaller one`,
    { file: WEIGHTS },
  );
}

/** Files in the browser's storage, read piece by piece. */
class StoredSource implements ModelSource {
  readonly location: string;
  readonly #files: ReadonlyMap<string, Downloaded>;

  constructor(location: string, files: ReadonlyMap<string, Downloaded>) {
    this.location = location;
    this.#files = files;
  }

  async list(): Promise<string[]> {
    return [...this.#files.keys()];
  }

  async size(file: string): Promise<number | null> {
    return this.#files.get(file)?.size ?? null;
  }

  async read(file: string, start: number, end: number, into?: Uint8Array): Promise<Uint8Array> {
    const stored = this.#files.get(file);
    if (stored === undefined) throw new ModelFormatError('IO_ERROR', 'the file does not exist', { file });
    return stored.read(start, end, into);
  }

  async close(): Promise<void> {
    for (const file of this.#files.values()) file.close();
  }
}
