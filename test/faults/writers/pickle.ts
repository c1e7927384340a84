import { concat } from './safetensors.ts';
import { type ZipOptions, type ZipPart, zip } from './zip.ts';

/** Pieces of pickles of protocol 2, by the names of Python's pickletools. */
export const op = {
  proto: [0x80, 2],
  stop: [0x2e],
  mark: [0x28],
  none: [0x4e],
  true: [0x88],
  false: [0x89],
  emptyDict: [0x7d],
  emptyList: [0x5d],
  emptyTuple: [0x29],
  tuple: [0x74],
  tuple1: [0x85],
  tuple2: [0x86],
  tuple3: [0x87],
  reduce: [0x52],
  build: [0x62],
  persId: [0x51],
  setItem: [0x73],
  setItems: [0x75],
  append: [0x61],
  appends: [0x65],
  int: (value: number): number[] => [0x4a, ...littleEndian(value, 4)],
  long: (...bytes: number[]): number[] => [0x8a, bytes.length, ...bytes],
  float: (...bytes: number[]): number[] => [0x47, ...bytes],
  put: (index: number): number[] => [0x71, index],
  get: (index: number): number[] => [0x68, index],
  longPut: (index: number): number[] => [0x72, ...littleEndian(index, 4)],
  longGet: (index: number): number[] => [0x6a, ...littleEndian(index, 4)],
  text: (value: string): number[] => [0x58, ...littleEndian(Buffer.byteLength(value), 4), ...Buffer.from(value)],
  global: (module: string, name: string): number[] => [0x63, ...Buffer.from(`${module}\n${name}\n`)],
} as const;

function littleEndian(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) & 0xff);
}

type Piece = readonly number[] | Uint8Array;

export interface TensorFields {
  storage?: Piece;
  key?: string;
  storageType?: Piece;
  length?: number;
  offset?: Piece;
  shape?: readonly number[];
  strides?: readonly number[];
}

export function ints(values: readonly number[]): number[] {
  return [...op.mark, ...values.flatMap(op.int), ...op.tuple];
}

/** A storage as torch.save describes it: ('storage', type, key, 'cpu', length) and BINPERSID. */
export function storage(key = '0', length = 4, type: Piece = op.global('torch', 'FloatStorage')): number[] {
  return [
    ...op.mark,
    ...op.text('storage'),
    ...type,
    ...op.text(key),
    ...op.text('cpu'),
    ...op.int(length),
    ...op.tuple,
    ...op.persId,
  ];
}

/** A call of _rebuild_tensor_v2. */
export function tensor(f: TensorFields = {}): number[] {
  const shape = f.shape ?? [4];
  const strides = f.strides ?? shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  return [
    ...op.global('torch._utils', '_rebuild_tensor_v2'),
    ...op.mark,
    ...(f.storage ?? storage(f.key, f.length, f.storageType)),
    ...(f.offset ?? op.int(0)),
    ...ints(shape),
    ...ints(strides),
    ...op.false,
    ...op.global('collections', 'OrderedDict'),
    ...op.emptyTuple,
    ...op.reduce,
    ...op.tuple,
    ...op.reduce,
  ];
}

/** A whole pickle: a dictionary of name and value. */
export function stateDict(entries: Readonly<Record<string, Piece>>): Uint8Array {
  const items = Object.entries(entries).flatMap(([name, value]) => [...op.text(name), ...value]);
  return pickle(op.emptyDict, op.mark, items, op.setItems);
}

export function pickle(...pieces: readonly Piece[]): Uint8Array {
  return concat(op.proto, ...pieces, op.stop);
}

/** An archive as torch.save writes it. `storages`: content of data/KEY; 16 bytes for key 0 by default. */
export function torchArchive(
  data: Uint8Array,
  storages: Readonly<Record<string, Uint8Array>> = { 0: new Uint8Array(16).fill(1) },
  options: ZipOptions & { root?: string; more?: readonly ZipPart[] } = {},
): Uint8Array {
  const root = options.root ?? 'archive';
  const parts: ZipPart[] = [{ name: `${root}/data.pkl`, content: data }];
  for (const [key, content] of Object.entries(storages)) parts.push({ name: `${root}/data/${key}`, content });
  parts.push({ name: `${root}/version`, content: '3\n' }, ...(options.more ?? []));
  return zip(parts, { zip64: {}, ...options });
}
