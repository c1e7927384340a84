import { createReadStream, createWriteStream } from 'node:fs';
import { constants, copyFile, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { HttpError } from '../../http/errors.ts';
import { newId, unixTime } from './ids.ts';
import { readJsonFiles, writeJsonFile } from './json-file.ts';

/** OpenAI's file object. */
export interface StoredFile {
  id: string;
  object: 'file';
  bytes: number;
  created_at: number;
  /** Unix seconds, or null: it stays until it is deleted. */
  expires_at: number | null;
  filename: string;
  purpose: string;
  status: 'processed';
}

export interface NewFile {
  id: string;
  filename: string;
  purpose: string;
  /** Seconds. */
  expiresAfter: number | null;
}

/**
 * Files in a folder: the contents of `file-x` in `file-x.data`, what is told of it in `file-x.json`, which is written last, so
 * that a file is there whole or not at all.
 */
export class FileStore {
  readonly #folder: string;
  readonly #files: Map<string, StoredFile>;

  private constructor(folder: string, files: readonly StoredFile[]) {
    this.#folder = folder;
    const sorted = [...files].sort((a, b) => a.created_at - b.created_at);
    this.#files = new Map(sorted.map(file => [file.id, file]));
  }

  /** Removes what an earlier process left half-done. */
  static async open(folder: string): Promise<FileStore> {
    await mkdir(folder, { recursive: true });
    const store = new FileStore(folder, await readJsonFiles<StoredFile>(folder));
    for (const name of await readdir(folder)) {
      if (!store.#files.has(name.split('.', 1)[0]!)) await rm(join(folder, name));
    }
    return store;
  }

  /** Writes the contents of a file that is not registered yet. Throws what they throw, and HttpError 507 when the disk is full. */
  async receive(id: string, contents: AsyncIterable<Uint8Array>): Promise<void> {
    await pipeline(contents, createWriteStream(this.pathOf(id))).catch(error => {
      throw storageError(error);
    });
  }

  /** From now on the file whose contents are there is listed. */
  async register({ id, filename, purpose, expiresAfter }: NewFile): Promise<StoredFile> {
    const { size } = await stat(this.pathOf(id));
    const created = unixTime();
    const expires = expiresAfter === null ? null : created + expiresAfter;
    const times = { created_at: created, expires_at: expires };
    const file: StoredFile = { id, object: 'file', bytes: size, ...times, filename, purpose, status: 'processed' };
    await writeJsonFile(join(this.#folder, `${id}.json`), file);
    this.#files.set(id, file);
    return file;
  }

  /** Drops the contents of a file that is not registered. */
  async discard(id: string): Promise<void> {
    await rm(this.pathOf(id), { force: true });
  }

  /** Copies a file of this disk. One that is here already, under its id, stays as it is. */
  async adopt(file: NewFile, from: string): Promise<StoredFile> {
    const before = this.#files.get(file.id);
    if (before !== undefined) return before;
    await copyFile(from, this.pathOf(file.id), constants.COPYFILE_FICLONE);
    return this.register(file);
  }

  /** Newest first. */
  list(): StoredFile[] {
    return [...this.#files.values()].filter(file => !hasExpired(file)).reverse();
  }

  /** Throws HttpError 404. */
  get(id: string): StoredFile {
    const file = this.#files.get(id);
    if (file !== undefined && !hasExpired(file)) return file;
    throw new HttpError(404, `There is no file ${JSON.stringify(id.slice(0, 64))}.`, {
      param: 'file_id',
      code: 'not_found',
    });
  }

  pathOf(id: string): string {
    return join(this.#folder, `${id}.data`);
  }

  contents(id: string): AsyncIterable<Uint8Array> {
    return createReadStream(this.pathOf(this.get(id).id));
  }

  async delete(id: string): Promise<void> {
    const { id: known } = this.get(id);
    await this.#remove(known);
  }

  async removeExpired(): Promise<void> {
    for (const file of this.#files.values()) if (hasExpired(file)) await this.#remove(file.id);
  }

  async #remove(id: string): Promise<void> {
    this.#files.delete(id);
    await rm(join(this.#folder, `${id}.json`), { force: true });
    await rm(this.pathOf(id), { force: true });
  }
}

export function newFile(filename: string, purpose: string, expiresAfter: number | null = null): NewFile {
  return { id: newId('file-'), filename, purpose, expiresAfter };
}

function hasExpired({ expires_at }: StoredFile): boolean {
  return expires_at !== null && expires_at <= unixTime();
}

function storageError(error: unknown): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') return error;
  return new HttpError(507, 'The disk for files is full.', { code: 'storage_full', cause: error });
}
