import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, readdir, realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path';
import {
  isModuleFile,
  isPlainFileName,
  type ModelFormatDetails,
  ModelFormatError,
  type ModelSource,
  shortRead,
} from '@quire/core/weights';

/**
 * Opens a model folder for reading. Only regular files that really lie in the folder are read. Links are followed as far as they
 * stay in it, or, in a snapshot of a Hugging Face cache (`models--X/snapshots/REVISION`), lead to the `blobs` of the same model.
 * Reads are positional, so several can be under way at once.
 * @throws ModelFormatError FS_FOLDER when there is no such folder.
 */
export async function openFolderSource(path: string): Promise<ModelSource> {
  let root: string;
  let files: Stats;
  try {
    root = await realpath(path);
    files = await lstat(root);
  } catch (error) {
    throw noFolder(path, describe(error), error);
  }
  if (!files.isDirectory()) throw noFolder(path, 'a file', undefined);
  return new FolderSource(path, root);
}

class FolderSource implements ModelSource {
  readonly location: string;
  readonly #root: string;
  /** Folders that a link may lead to. */
  readonly #allowed: readonly string[];
  readonly #handles = new Map<string, Promise<FileHandle>>();

  constructor(location: string, root: string) {
    this.location = location;
    this.#root = root;
    this.#allowed = [root, ...cacheBlobs(root)];
  }

  async list(): Promise<string[]> {
    try {
      return await readdir(this.#root);
    } catch (error) {
      throw failed('IO_ERROR', this.location, 'the folder cannot be listed', error);
    }
  }

  async size(file: string): Promise<number | null> {
    const place = await this.#resolve(file);
    return place === null ? null : place.stats.size;
  }

  async stamp(file: string): Promise<string> {
    const place = await this.#resolve(file);
    return place === null ? 'absent' : `${place.stats.size} ${place.stats.mtimeMs} ${place.stats.ino}`;
  }

  async read(file: string, start: number, end: number, into?: Uint8Array): Promise<Uint8Array> {
    const handle = await this.#open(file);
    const bytes = into?.subarray(0, end - start) ?? new Uint8Array(end - start);
    let done = 0;
    while (done < bytes.length) {
      // A read may give less than asked for without being at the end, as on network file systems.
      const count = await readSome(handle, bytes, done, start, file);
      if (count === 0) throw shortRead(file, start + done, start, end);
      done += count;
    }
    return bytes;
  }

  /** Of a file that was opened with the same checks as for a read. */
  async descriptor(file: string): Promise<number> {
    return (await this.#open(file)).fd;
  }

  async close(): Promise<void> {
    const handles = [...this.#handles.values()];
    this.#handles.clear();
    for (const handle of handles) await handle.then(opened => opened.close()).catch(() => {});
  }

  #open(file: string): Promise<FileHandle> {
    let handle = this.#handles.get(file);
    if (handle === undefined) {
      handle = this.#openChecked(file);
      this.#handles.set(file, handle);
      handle.catch(() => this.#handles.delete(file));
    }
    return handle;
  }

  async #openChecked(file: string): Promise<FileHandle> {
    const place = await this.#resolve(file);
    if (place === null) throw new ModelFormatError('IO_ERROR', 'the file does not exist', { file });
    let handle: FileHandle;
    try {
      // Should a FIFO take the file's place after the check, opening it must not wait for a writer.
      handle = await open(place.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      throw failed('IO_ERROR', file, 'the file cannot be opened', error);
    }
    const opened = await handle.stat();
    if (opened.isFile() && opened.ino === place.stats.ino && opened.dev === place.stats.dev) return handle;
    await handle.close();
    throw new ModelFormatError('IO_ERROR', 'the file was replaced while it was opened', {
      file,
      advice: 'Load the model again.',
    });
  }

  /** Where a file really is; null when there is none. Refuses what is not a regular file inside the folder. */
  async #resolve(file: string): Promise<{ path: string; stats: Stats } | null> {
    if (!isPlainFileName(file) && !isModuleFile(file)) {
      throw new ModelFormatError('FS_NAME', 'this is not a plain file name', {
        file: JSON.stringify(file),
        expected: 'a file in the model folder',
      });
    }
    const path = join(this.#root, file);
    try {
      const stats = await lstat(path);
      // The subfolder of a step may itself be a link.
      const folder = await realpath(dirname(path));
      if (folder !== this.#root && !isInside(this.#root, folder)) throw outside(file);
      if (!stats.isSymbolicLink()) return { path, stats: regular(stats, file) };
      const target = await realpath(path);
      if (!this.#allowed.some(folder => isInside(folder, target))) throw outside(file);
      return { path: target, stats: regular(await lstat(target), file) };
    } catch (error) {
      if (error instanceof ModelFormatError) throw error;
      if (isErrno(error) && ['ENOENT', 'ENOTDIR'].includes(error.code ?? '') && !(await isLink(path))) return null;
      throw failed(
        isErrno(error) && error.code === 'ELOOP' ? 'FS_LINK' : 'IO_ERROR',
        file,
        'the file cannot be reached',
        error,
      );
    }
  }
}

async function readSome(
  handle: FileHandle,
  bytes: Uint8Array,
  done: number,
  start: number,
  file: string,
): Promise<number> {
  try {
    return (await handle.read(bytes, done, bytes.length - done, start + done)).bytesRead;
  } catch (error) {
    throw failed('IO_ERROR', file, 'the file cannot be read', error, { offset: start + done });
  }
}

/** The blobs of a Hugging Face cache, for a folder `.../models--X/snapshots/REVISION`. */
function cacheBlobs(root: string): string[] {
  const snapshots = dirname(root);
  const model = dirname(snapshots);
  const isSnapshot = basename(snapshots) === 'snapshots' && basename(model).startsWith('models--');
  return isSnapshot ? [join(model, 'blobs')] : [];
}

/** Compares path parts, not prefixes: `model_evil` is not inside `model`. */
function isInside(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

function regular(stats: Stats, file: string): Stats {
  if (stats.isFile()) return stats;
  throw new ModelFormatError('FS_NOT_REGULAR', 'this is not a regular file', {
    file,
    found: kindOf(stats),
    expected: 'a regular file',
  });
}

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a directory';
  if (stats.isFIFO()) return 'a FIFO';
  if (stats.isSocket()) return 'a socket';
  return 'a device';
}

function outside(file: string): ModelFormatError {
  return new ModelFormatError('FS_LINK', 'the link leaves the model folder', {
    file,
    expected: 'a link within the folder, or to the blobs of its Hugging Face cache',
    advice: 'Copy the file into the folder if you trust it.',
  });
}

async function isLink(path: string): Promise<boolean> {
  return lstat(path).then(
    stats => stats.isSymbolicLink(),
    () => false,
  );
}

function noFolder(path: string, found: string, cause: unknown): ModelFormatError {
  const error = new ModelFormatError('FS_FOLDER', 'this is not a model folder', {
    file: path,
    found,
    expected: 'a folder with config.json and weights',
  });
  error.cause = cause;
  return error;
}

function failed(
  code: string,
  file: string,
  summary: string,
  cause: unknown,
  more: Partial<ModelFormatDetails> = {},
): ModelFormatError {
  const error = new ModelFormatError(code, summary, { file, found: describe(cause), ...more });
  error.cause = cause;
  return error;
}

function describe(error: unknown): string {
  return isErrno(error) ? `${error.code}` : String(error);
}

function isErrno(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error;
}
