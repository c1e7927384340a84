import { type ModelFormatDetails, ModelFormatError } from '../errors.ts';
import { isPlainFileName } from './file-name.ts';
import { quote } from './json-scan.ts';
import type { ModelSource } from './types.ts';

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const ZIP64_END = 0x06064b50;
const ZIP64_LOCATOR = 0x07064b50;
const FLAG_ENCRYPTED = 0x2041;
const FLAG_DESCRIPTOR = 8;

const MAX_ENTRIES = 20_000;
const MAX_DIRECTORY_BYTES = 8 * 1024 * 1024;

/** An entry of a zip archive, as the central directory describes it. */
export interface ZipEntry {
  readonly name: string;
  readonly size: number;
  readonly headerOffset: number;
  readonly flags: number;
  /** Where the next entry, or the central directory, begins. */
  readonly limit: number;
}

/** The entries of an archive whose content lies in it uncompressed. */
export interface ZipDirectory {
  readonly file: string;
  readonly entries: ReadonlyMap<string, ZipEntry>;
}

/**
 * Reads the central directory of a zip archive (APPNOTE 6.3, with zip64). Nothing is ever inflated: a compressed entry is refused,
 * so an archive cannot become larger than its file. Entries must lie in the file one after another without overlap.
 * @throws ModelFormatError PK_ZIP, PK_COMPRESSED, PK_NAME, PK_OVERLAP, PK_LIMIT.
 */
export async function readZipDirectory(source: ModelSource, file: string, fileSize: number): Promise<ZipDirectory> {
  const place = await findDirectory(source, file, fileSize);
  if (place.count > MAX_ENTRIES || place.size > MAX_DIRECTORY_BYTES) {
    throw bad(file, 'PK_LIMIT', 'the archive has too many entries', {
      found: `${place.count} entries in ${place.size} bytes`,
      expected: `at most ${MAX_ENTRIES} in ${MAX_DIRECTORY_BYTES} bytes`,
    });
  }
  const bytes = await source.read(file, place.start, place.start + place.size);
  const found = parseDirectory(bytes, file, place);
  return { file, entries: setLimits(found, file, place.start) };
}

interface DirectoryPlace {
  start: number;
  size: number;
  count: number;
}

async function findDirectory(source: ModelSource, file: string, fileSize: number): Promise<DirectoryPlace> {
  const tailStart = Math.max(0, fileSize - 22 - 0xffff);
  const tail = await source.read(file, tailStart, fileSize);
  const view = viewOf(tail);
  let at = tail.length - 22;
  while (at >= 0 && !(view.getUint32(at, true) === END && at + 22 + view.getUint16(at + 20, true) === tail.length))
    at--;
  if (at < 0)
    throw bad(file, 'PK_ZIP', 'the archive has no end record', {
      expected: 'a complete zip file',
      advice: 'The file is cut off: download it again.',
    });
  const end = tailStart + at;
  const place = {
    start: view.getUint32(at + 16, true),
    size: view.getUint32(at + 12, true),
    count: view.getUint16(at + 10, true),
  };
  const oneDisk =
    view.getUint16(at + 4, true) === 0 &&
    view.getUint16(at + 6, true) === 0 &&
    view.getUint16(at + 8, true) === place.count;
  if (!oneDisk) throw bad(file, 'PK_ZIP', 'the archive is spread over several files', { offset: end });
  const hasLocator = at >= 20 && view.getUint32(at - 20, true) === ZIP64_LOCATOR;
  if (hasLocator) return findZip64Directory(source, file, viewOf(tail.subarray(at - 20, at)), end - 20, place);
  return checkPlace(place, end, file);
}

async function findZip64Directory(
  source: ModelSource,
  file: string,
  locator: DataView,
  locatorAt: number,
  small: DirectoryPlace,
): Promise<DirectoryPlace> {
  const recordAt = toSize(locator.getBigUint64(8, true));
  if (recordAt + 56 > locatorAt)
    throw bad(file, 'PK_ZIP', 'the zip64 end record lies outside the file', {
      offset: locatorAt,
      found: `offset ${recordAt}`,
    });
  const record = viewOf(await source.read(file, recordAt, recordAt + 56));
  const length = toSize(record.getBigUint64(4, true));
  if (record.getUint32(0, true) !== ZIP64_END || recordAt + 12 + length !== locatorAt) {
    throw bad(file, 'PK_ZIP', 'the zip64 end record is malformed', { offset: recordAt });
  }
  const place = {
    count: toSize(record.getBigUint64(32, true)),
    size: toSize(record.getBigUint64(40, true)),
    start: toSize(record.getBigUint64(48, true)),
  };
  const agrees =
    (small.count === 0xffff || small.count === place.count) &&
    (small.size === 0xffffffff || small.size === place.size) &&
    (small.start === 0xffffffff || small.start === place.start);
  if (!agrees)
    throw bad(file, 'PK_ZIP', 'the two end records disagree', {
      offset: recordAt,
      found: show(place),
      expected: show(small),
    });
  return checkPlace(place, recordAt, file);
}

function checkPlace(place: DirectoryPlace, end: number, file: string): DirectoryPlace {
  if (place.start + place.size === end) return place;
  throw bad(file, 'PK_ZIP', 'the central directory does not lie before its end record', {
    found: show(place),
    expected: `an end at byte ${end}`,
  });
}

function show(place: DirectoryPlace): string {
  return `${place.count} entries in ${place.size} bytes from byte ${place.start}`;
}

function parseDirectory(bytes: Uint8Array, file: string, place: DirectoryPlace): Omit<ZipEntry, 'limit'>[] {
  const view = viewOf(bytes);
  const entries: Omit<ZipEntry, 'limit'>[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== CENTRAL) {
      throw bad(file, 'PK_ZIP', 'the central directory is malformed', { offset: place.start + at });
    }
    const nameEnd = at + 46 + view.getUint16(at + 28, true);
    const extraEnd = nameEnd + view.getUint16(at + 30, true);
    const next = extraEnd + view.getUint16(at + 32, true);
    if (next > bytes.length)
      throw bad(file, 'PK_ZIP', 'an entry leaves the central directory', { offset: place.start + at });
    const name = decodeName(bytes.subarray(at + 46, nameEnd), file, place.start + at);
    entries.push(
      parseEntry(view, at, name, new DataView(bytes.buffer, bytes.byteOffset + nameEnd, extraEnd - nameEnd), file),
    );
    at = next;
  }
  if (entries.length !== place.count) {
    throw bad(file, 'PK_ZIP', 'the number of entries is wrong', {
      found: `${entries.length}`,
      expected: `${place.count}`,
    });
  }
  return entries;
}

function parseEntry(view: DataView, at: number, name: string, extra: DataView, file: string): Omit<ZipEntry, 'limit'> {
  const flags = view.getUint16(at + 8, true);
  const method = view.getUint16(at + 10, true);
  if ((flags & FLAG_ENCRYPTED) !== 0) throw badEntry(file, name, 'PK_ZIP', 'the entry is encrypted', {});
  if (method !== 0) {
    throw badEntry(file, name, 'PK_COMPRESSED', 'the entry is compressed, and compressed weights are never read', {
      found: `method ${method}`,
      expected: 'method 0, as torch.save writes it',
      advice: 'Load the checkpoint in PyTorch and save it again, best as safetensors.',
    });
  }
  const wide = new Zip64Fields(extra);
  const size = wide.or(view.getUint32(at + 24, true));
  const stored = wide.or(view.getUint32(at + 20, true));
  const headerOffset = wide.or(view.getUint32(at + 42, true));
  if (size !== stored)
    throw badEntry(file, name, 'PK_ZIP', 'an uncompressed entry has two sizes', {
      found: `${stored}`,
      expected: `${size}`,
    });
  return { name, size, headerOffset, flags };
}

/** The zip64 extra field replaces, in order, the 32-bit values that are all ones. */
class Zip64Fields {
  readonly #extra: DataView;
  #at = 0;
  #end = 0;
  constructor(extra: DataView) {
    this.#extra = extra;
    for (let at = 0; at + 4 <= extra.byteLength; ) {
      const length = extra.getUint16(at + 2, true);
      if (extra.getUint16(at, true) === 1 && at + 4 + length <= extra.byteLength) {
        this.#at = at + 4;
        this.#end = at + 4 + length;
        return;
      }
      at += 4 + length;
    }
  }
  or(value: number): number {
    if (value !== 0xffffffff || this.#at + 8 > this.#end) return value;
    this.#at += 8;
    return toSize(this.#extra.getBigUint64(this.#at - 8, true));
  }
}

function decodeName(bytes: Uint8Array, file: string, offset: number): string {
  let name: string;
  try {
    name = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw bad(file, 'PK_NAME', 'the name of an entry is not UTF-8', { offset });
  }
  const parts = name.endsWith('/') ? name.slice(0, -1).split('/') : name.split('/');
  if (parts.every(isPlainFileName)) return name;
  throw bad(file, 'PK_NAME', 'the name of an entry could leave the archive', {
    offset,
    found: quote(name),
    expected: 'a relative path without dots',
  });
}

function setLimits(
  found: readonly Omit<ZipEntry, 'limit'>[],
  file: string,
  directoryStart: number,
): Map<string, ZipEntry> {
  const inOrder = [...found].sort((a, b) => a.headerOffset - b.headerOffset);
  const entries = new Map<string, ZipEntry>();
  inOrder.forEach((entry, i) => {
    const limit = inOrder[i + 1]?.headerOffset ?? directoryStart;
    if (entry.headerOffset + 30 + entry.size > limit) {
      throw badEntry(file, entry.name, 'PK_OVERLAP', 'the entry runs into the next one or out of the file', {
        offset: entry.headerOffset,
        found: `${entry.size} bytes`,
        expected: `an end before byte ${limit}`,
      });
    }
    if (entries.has(entry.name)) throw badEntry(file, entry.name, 'PK_ZIP', 'two entries have this name', {});
    entries.set(entry.name, { ...entry, limit });
  });
  return entries;
}

/**
 * Byte range of an entry's content. Its local header must say what the central directory says.
 * @throws ModelFormatError PK_ZIP, PK_OVERLAP.
 */
export async function locateEntry(
  source: ModelSource,
  file: string,
  entry: ZipEntry,
): Promise<{ start: number; end: number }> {
  const nameBytes = new TextEncoder().encode(entry.name);
  const room = Math.min(entry.limit, entry.headerOffset + 30 + nameBytes.length);
  const bytes = await source.read(file, entry.headerOffset, room);
  const view = viewOf(bytes);
  const agrees =
    bytes.length === 30 + nameBytes.length &&
    view.getUint32(0, true) === LOCAL &&
    view.getUint16(6, true) === entry.flags &&
    view.getUint16(8, true) === 0 &&
    view.getUint16(26, true) === nameBytes.length &&
    nameBytes.every((byte, i) => bytes[30 + i] === byte) &&
    localSizeAgrees(view.getUint32(22, true), entry) &&
    localSizeAgrees(view.getUint32(18, true), entry);
  if (!agrees)
    throw badEntry(file, entry.name, 'PK_ZIP', 'local header and central directory disagree', {
      offset: entry.headerOffset,
    });
  const start = entry.headerOffset + 30 + nameBytes.length + view.getUint16(28, true);
  if (start + entry.size <= entry.limit) return { start, end: start + entry.size };
  throw badEntry(file, entry.name, 'PK_OVERLAP', 'the entry runs into the next one or out of the file', {
    offset: entry.headerOffset,
    expected: `an end before byte ${entry.limit}`,
  });
}

/** 0 stands where the size follows the content, all ones where it stands in the zip64 field. */
function localSizeAgrees(size: number, entry: ZipEntry): boolean {
  return size === entry.size || size === 0xffffffff || (size === 0 && (entry.flags & FLAG_DESCRIPTOR) !== 0);
}

/** A 64-bit size as a number; what no file can have becomes Infinity, which every bound refuses. */
function toSize(value: bigint): number {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : Number.POSITIVE_INFINITY;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function bad(file: string, code: string, summary: string, details: Omit<ModelFormatDetails, 'file'>): ModelFormatError {
  return new ModelFormatError(code, summary, { file, ...details });
}

function badEntry(
  file: string,
  name: string,
  code: string,
  summary: string,
  details: Omit<ModelFormatDetails, 'file'>,
): ModelFormatError {
  return bad(file, code, `${summary} (entry ${quote(name)})`, details);
}
