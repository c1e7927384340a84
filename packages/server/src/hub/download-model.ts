import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type OnTransfer, TransferProgress } from '../node/transfer-progress.ts';
import type { CachedModel } from './cached-model.ts';
import { downloadFile } from './download-file.ts';
import { HubClient, type HubFile, type HubListing } from './hub-client.ts';
import { HubError } from './hub-error.ts';
import type { HubSettings } from './hub-settings.ts';
import { withLock } from './model-lock.ts';
import { describingFiles, shardsOf, type WantedWeights, weightsEntry } from './needed-files.ts';
import { retrying } from './retrying.ts';

/** Large files that are brought at once. */
const AT_ONCE = 4;
const RETRY_MS = 1_000;
/** Fewer than of a file: a hub that cannot be reached is told soon. */
const LISTING_TRIES = 3;

export interface ModelRequest {
  readonly model: string;
  readonly revision: string;
  readonly weights: WantedWeights;
  readonly cached: CachedModel;
  readonly settings: HubSettings;
  readonly onDownload?: OnTransfer | undefined;
  /** Default 1 s. */
  readonly retryMs?: number | undefined;
}

/**
 * Brings what Quire reads of a model, as far as the cache lacks it, and resolves with the snapshot's folder. Nothing outside the
 * cache is written. Throws HubError.
 */
export async function downloadModel(request: ModelRequest): Promise<string> {
  const { model, revision, cached, settings } = request;
  const client = new HubClient(settings);
  const retries = { most: LISTING_TRIES, waitMs: request.retryMs ?? RETRY_MS };
  const listing = await retrying(() => client.list(model, revision), retries);
  const lock = join(settings.cache, '.locks', `models--${model.replace('/', '--')}`, 'quire.lock');
  try {
    return await withLock(lock, async () => {
      await new ModelDownload(request, client, listing).run();
      await cached.setRef(revision, listing.commit);
      return cached.snapshotOf(listing.commit);
    });
  } catch (error) {
    throw cacheError(error, settings.cache);
  }
}

class ModelDownload {
  readonly #request: ModelRequest;
  readonly #client: HubClient;
  readonly #listing: HubListing;
  readonly #progress: TransferProgress;

  constructor(request: ModelRequest, client: HubClient, listing: HubListing) {
    this.#request = request;
    this.#client = client;
    this.#listing = listing;
    this.#progress = new TransferProgress(request.onDownload ?? (() => undefined));
  }

  async run(): Promise<void> {
    const names = new Set(this.#listing.files.keys());
    const entry = weightsEntry(names, this.#request.weights);
    const small = [...describingFiles(names), ...(entry?.endsWith('.index.json') ? [entry] : [])];
    await this.#bring(small);
    if (entry === null) return;
    await this.#bring(entry.endsWith('.index.json') ? await this.#shards(entry, names) : [entry]);
  }

  /** A file that the index names and the model lacks is told by who loads it. */
  async #shards(entry: string, names: ReadonlySet<string>): Promise<string[]> {
    const text = await readFile(join(this.#request.cached.snapshotOf(this.#listing.commit), entry), 'utf8');
    return shardsOf(entry, text).filter(name => names.has(name));
  }

  async #bring(names: readonly string[]): Promise<void> {
    const missing: HubFile[] = [];
    for (const name of names) {
      const file = this.#listing.files.get(name)!;
      if (!(await this.#isThere(file))) missing.push(file);
    }
    if (missing.length === 0) return;
    for (const { bytes } of missing) this.#progress.expect(bytes);
    await eachAtOnce(missing, file => this.#bringFile(file));
    this.#progress.tell();
  }

  async #bringFile(file: HubFile): Promise<void> {
    const { cached, model, retryMs = RETRY_MS } = this.#request;
    const { commit } = this.#listing;
    let isFirst = true;
    await downloadFile(file, {
      model,
      commit,
      cached,
      client: this.#client,
      retryMs,
      onBytes: bytes => {
        if (isFirst) this.#progress.found(bytes);
        else this.#progress.add(bytes);
        isFirst = false;
      },
    });
    await cached.place(commit, file.name, file.digest);
  }

  /** In the snapshot, or among the blobs from where it is placed there. Of the right size: its digest was checked when it came. */
  async #isThere({ name, bytes, digest }: HubFile): Promise<boolean> {
    const { cached } = this.#request;
    const { commit } = this.#listing;
    if ((await sizeOf(join(cached.snapshotOf(commit), name))) === bytes) return true;
    if ((await sizeOf(cached.blob(digest))) !== bytes) return false;
    await cached.place(commit, name, digest);
    return true;
  }
}

async function sizeOf(path: string): Promise<number | null> {
  return stat(path).then(
    found => (found.isFile() ? found.size : null),
    () => null,
  );
}

/** A few at a time, in order. The first failure ends all once those under way have ended. */
async function eachAtOnce<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const run = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) {
      await work(item).catch(error => {
        queue.length = 0;
        throw error;
      });
    }
  };
  const results = await Promise.allSettled(Array.from({ length: AT_ONCE }, run));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** What the file system refuses is told with the folder and what to do. */
function cacheError(error: unknown, cache: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof HubError || code === undefined) return error;
  const advice: Record<string, string> = {
    ENOSPC: 'The disk is full. Make room, or set HF_HOME or --download-dir to another one',
    EACCES: 'It may not be written to. Set HF_HOME or --download-dir to a folder that may',
    EROFS: 'It may not be written to. Set HF_HOME or --download-dir to a folder that may',
  };
  const reason = advice[code] ?? message;
  return new HubError('hub_cache', `The cache ${JSON.stringify(cache)} cannot be used: ${reason}.`, { cause: error });
}
