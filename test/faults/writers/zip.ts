import { concat } from './safetensors.ts';

export interface ZipPart {
  name: string;
  content: Uint8Array | string;
  /** What the headers claim, where that is not the truth. */
  claims?: {
    method?: number;
    flags?: number;
    size?: number;
    storedSize?: number;
    offset?: number;
    localName?: string;
    localFlags?: number;
    localSize?: number;
    localMagic?: number;
    localMethod?: number;
    extraLength?: number;
    centralExtra?: readonly number[];
  };
}

export interface ZipOptions {
  comment?: string;
  claims?: { count?: number; directorySize?: number; directoryOffset?: number; disk?: number; centralMagic?: number };
  /** Writes zip64 end records as torch.save does; the fields replace true values. */
  zip64?:
    | { count?: bigint; directorySize?: bigint; directoryOffset?: bigint; recordOffset?: bigint; recordLength?: bigint }
    | undefined;
  /** Bytes between the central directory and the end record. */
  gap?: number;
}

/** Writes a zip archive with stored entries, and any lie that a test asks for. */
export function zip(parts: readonly ZipPart[], options: ZipOptions = {}): Uint8Array {
  const chunks: Uint8Array[] = [];
  const central: Uint8Array[] = [];
  let at = 0;
  for (const part of parts) {
    const content = typeof part.content === 'string' ? Buffer.from(part.content) : part.content;
    const local = concat(localHeader(part, content.length), content);
    central.push(centralHeader(part, content.length, part.claims?.offset ?? at));
    chunks.push(local);
    at += local.length;
  }
  const directory = concat(...central);
  return concat(
    ...chunks,
    directory,
    new Uint8Array(options.gap ?? 0),
    endRecords(parts.length, directory.length, at, options),
  );
}

function localHeader({ name, claims = {} }: ZipPart, size: number): Uint8Array {
  const bytes = Buffer.from(claims.localName ?? name);
  const header = Buffer.alloc(30);
  header.writeUInt32LE(claims.localMagic ?? 0x04034b50, 0);
  header.writeUInt16LE(claims.localFlags ?? claims.flags ?? 0, 6);
  header.writeUInt16LE(claims.localMethod ?? claims.method ?? 0, 8);
  header.writeUInt32LE(claims.localSize ?? claims.storedSize ?? claims.size ?? size, 18);
  header.writeUInt32LE(claims.localSize ?? claims.size ?? size, 22);
  header.writeUInt16LE(bytes.length, 26);
  header.writeUInt16LE(claims.extraLength ?? 0, 28);
  return concat(header, bytes);
}

function centralHeader({ name, claims = {} }: ZipPart, size: number, offset: number): Uint8Array {
  const bytes = Buffer.from(name);
  const extra = claims.centralExtra ?? [];
  const header = Buffer.alloc(46);
  header.writeUInt32LE(0x02014b50, 0);
  header.writeUInt16LE(claims.flags ?? 0, 8);
  header.writeUInt16LE(claims.method ?? 0, 10);
  header.writeUInt32LE(claims.storedSize ?? claims.size ?? size, 20);
  header.writeUInt32LE(claims.size ?? size, 24);
  header.writeUInt16LE(bytes.length, 28);
  header.writeUInt16LE(extra.length, 30);
  header.writeUInt32LE(offset, 42);
  return concat(header, bytes, extra);
}

function endRecords(
  count: number,
  size: number,
  offset: number,
  { claims = {}, zip64, comment = '', gap = 0 }: ZipOptions,
): Uint8Array {
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(claims.disk ?? 0, 4);
  end.writeUInt16LE(claims.count ?? count, 8);
  end.writeUInt16LE(claims.count ?? count, 10);
  end.writeUInt32LE(claims.directorySize ?? size, 12);
  end.writeUInt32LE(claims.directoryOffset ?? offset, 16);
  end.writeUInt16LE(comment.length, 20);
  if (zip64 === undefined) return concat(end, comment);
  const record = Buffer.alloc(56);
  record.writeUInt32LE(0x06064b50, 0);
  record.writeBigUInt64LE(zip64.recordLength ?? 44n, 4);
  record.writeBigUInt64LE(zip64.count ?? BigInt(count), 24);
  record.writeBigUInt64LE(zip64.count ?? BigInt(count), 32);
  record.writeBigUInt64LE(zip64.directorySize ?? BigInt(size), 40);
  record.writeBigUInt64LE(zip64.directoryOffset ?? BigInt(offset), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(zip64.recordOffset ?? BigInt(offset + size + gap), 8);
  locator.writeUInt32LE(1, 16);
  return concat(record, locator, end, comment);
}
