import { ModelFormatError } from '@quire/core';
import { ADDRESS_FILE, MODELS } from './stored-models.ts';

/** A file that is in the browser's storage as a whole. */
export interface Downloaded {
  readonly size: number;
  /** To `into` if that is given, which has room for them. */
  read(start: number, end: number, into?: Uint8Array): Uint8Array;
  close(): void;
}

/** What is known of a file that is being fetched, beside its bytes. */
interface Note {
  readonly etag: string | null;
  readonly total: number;
  readonly done: boolean;
}

/** Files of one address in the origin's private file system. */
export interface Store {
  readonly folder: FileSystemDirectoryHandle;
}

/** One folder an address: names of folders are hashes, so that no address can name another place. */
export async function openStore(base: string): Promise<Store> {
  const root = await (await navigator.storage.getDirectory()).getDirectoryHandle(MODELS, { create: true });
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(base)));
  const name = [...digest.subarray(0, 16)].map(byte => byte.toString(16).padStart(2, '0')).join('');
  const store = { folder: await root.getDirectoryHandle(name, { create: true }) };
  await writeJson(store, ADDRESS_FILE, { address: base });
  return store;
}

/** Bytes of a file on the server, or null where it does not say. */
export async function remoteSize(url: URL): Promise<number | null> {
  const response = await fetch(url, { method: 'HEAD' });
  const length = response.headers.get('content-length');
  return response.ok && length !== null ? Number(length) : null;
}

/** The whole file is in the store. */
export async function isWhole(store: Store, name: string): Promise<boolean> {
  return (await readNote(store, name))?.done === true;
}

/** What an earlier download left of a file. */
export async function storedBytes({ folder }: Store, name: string): Promise<number> {
  try {
    return (await (await folder.getFileHandle(name)).getFile()).size;
  } catch {
    return 0;
  }
}

/**
 * The file, from the store or from the server; null when the server has none. Begins where an earlier download stopped, if the
 * server still has the same file (by its etag) and answers ranges. Throws ModelFormatError when the file does not come whole.
 */
export async function download(
  store: Store,
  url: URL,
  name: string,
  progress: (loaded: number, total: number | null) => void,
): Promise<Downloaded | null> {
  const note = await readNote(store, name);
  const file = await (await store.folder.getFileHandle(name, { create: true })).createSyncAccessHandle();
  try {
    if (note?.done && file.getSize() === note.total) return opened(file, name);
    const from = note === null ? 0 : file.getSize();
    const response = await fetchFrom(url, from, note?.etag ?? null, name);
    if (response === null) {
      file.close();
      await store.folder.removeEntry(name);
      return null;
    }
    await receive(response, { store, file, name, from, progress });
    return opened(file, name);
  } catch (error) {
    file.flush();
    file.close();
    throw error;
  }
}

/** A range request where something is there already. `if-range`: a file that has changed comes as a whole. */
async function fetchFrom(url: URL, from: number, etag: string | null, name: string): Promise<Response | null> {
  const headers = from > 0 && etag !== null ? { range: `bytes=${from}-`, 'if-range': etag } : {};
  let response: Response;
  try {
    response = await fetch(url, { headers });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ModelFormatError('IO_ERROR', `could not be fetched: ${why}. The server must allow this page (CORS)`, {
      file: name,
    });
  }
  if (response.status === 404) return null;
  if (response.status === 401 || response.status === 403) {
    throw new ModelFormatError('IO_ERROR', `the server answered ${response.status}: the model is gated or private`, {
      file: name,
    });
  }
  if (!response.ok || response.body === null) {
    throw new ModelFormatError('IO_ERROR', `the server answered ${response.status}`, { file: name });
  }
  if (response.headers.get('content-type')?.startsWith('text/html')) {
    throw new ModelFormatError('IO_ERROR', 'the server answered with a page instead of the file', { file: name });
  }
  return response;
}

interface Receiving {
  readonly store: Store;
  readonly file: FileSystemSyncAccessHandle;
  readonly name: string;
  readonly from: number;
  readonly progress: (loaded: number, total: number | null) => void;
}

async function receive(response: Response, { store, file, name, from, progress }: Receiving): Promise<void> {
  const start = response.status === 206 ? from : 0;
  const total = totalOf(response, start);
  const etag = response.headers.get('etag');
  file.truncate(start);
  await writeNote(store, name, { etag, total: total ?? -1, done: false });
  let at = start;
  try {
    for await (const part of response.body!) {
      file.write(part, { at });
      at += part.length;
      progress(at, total);
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ModelFormatError(
      'IO_ERROR',
      `the download broke at ${at} bytes: ${why}. Load again to go on from there`,
      { file: name },
    );
  }
  if (total !== null && at !== total) {
    throw new ModelFormatError('IO_ERROR', `${at} of ${total} bytes came. Load again to go on from there`, {
      file: name,
    });
  }
  file.flush();
  await checkHash(file, response.headers.get('x-linked-etag'), name);
  await writeNote(store, name, { etag, total: at, done: true });
}

/** Of the whole file. A compressed answer has the length of what was sent, which says nothing. */
function totalOf(response: Response, start: number): number | null {
  const range = /\/(\d+)$/.exec(response.headers.get('content-range') ?? '');
  if (range !== null) return Number(range[1]);
  const length = response.headers.get('content-length');
  return length === null || response.headers.get('content-encoding') !== null ? null : start + Number(length);
}

/** The hub tells the SHA-256 of large files. Those that do not fit into memory are known by their length alone. */
const MOST_HASHED = 2 ** 30;

async function checkHash(file: FileSystemSyncAccessHandle, etag: string | null, name: string): Promise<void> {
  const expected = /^"?([0-9a-f]{64})"?$/.exec(etag ?? '')?.[1];
  const size = file.getSize();
  if (expected === undefined || size > MOST_HASHED) return;
  const bytes = new Uint8Array(size);
  file.read(bytes, { at: 0 });
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  const found = [...digest].map(byte => byte.toString(16).padStart(2, '0')).join('');
  if (found === expected) return;
  file.truncate(0);
  throw new ModelFormatError('IO_ERROR', `its SHA-256 is ${found}, expected ${expected}. It was removed: load again`, {
    file: name,
  });
}

function opened(file: FileSystemSyncAccessHandle, name: string): Downloaded {
  return {
    size: file.getSize(),
    read(start, end, into = new Uint8Array(end - start)) {
      const bytes = into.subarray(0, end - start);
      if (file.read(bytes, { at: start }) === bytes.length) return bytes;
      throw new ModelFormatError('IO_ERROR', `has no bytes ${start} to ${end}`, { file: name });
    },
    close: () => file.close(),
  };
}

const noteName = (name: string) => `${name}.note`;

async function readNote({ folder }: Store, name: string): Promise<Note | null> {
  try {
    const file = await (await folder.getFileHandle(noteName(name))).getFile();
    return JSON.parse(await file.text()) as Note;
  } catch {
    return null;
  }
}

function writeNote(store: Store, name: string, note: Note): Promise<void> {
  return writeJson(store, noteName(name), note);
}

async function writeJson({ folder }: Store, name: string, value: object): Promise<void> {
  const handle = await (await folder.getFileHandle(name, { create: true })).createSyncAccessHandle();
  try {
    const bytes = new TextEncoder().encode(JSON.stringify(value));
    handle.truncate(0);
    handle.write(bytes, { at: 0 });
    handle.flush();
  } finally {
    handle.close();
  }
}
