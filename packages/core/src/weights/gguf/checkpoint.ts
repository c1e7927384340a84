import { AheadReader } from '../ahead-reader.ts';
import { MAX_FILE_TENSORS } from '../limits.ts';
import type { Checkpoint, CheckpointTensor, ModelSource } from '../types.ts';
import { architectureOf, type GgufArchitecture } from './architectures.ts';
import { type BlockType, blockValues, floatTypes, isFloatType, q4Records } from './blocks.ts';
import type { GgufHeader, GgufTensor } from './header.ts';
import type { GgufMetadata } from './metadata.ts';
import { ropeTensors } from './rope-scaling.ts';
import { TensorNames } from './tensor-names.ts';

const CHUNK_BYTES = 4 << 20;

/** How the tensor of a checkpoint lies in the file. */
interface Place {
  readonly tensor: GgufTensor;
  /** Rows of a head, where neighbours are to be put into halves; 0: rows stay as they are. */
  readonly headRows: number;
  readonly addsOne: boolean;
}

/**
 * The tensors of a GGUF file under Hugging Face's names. Weights of few bits are shown as f32, which holds them exactly; byte ranges are
 * those that the tensor would have in that dtype. Throws ModelFormatError GG_NAME for a tensor that belongs to no model here.
 */
export class GgufCheckpoint implements Checkpoint {
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  readonly #reader: AheadReader;
  readonly #file: string;
  readonly #places = new Map<string, Place>();

  constructor(source: ModelSource, header: GgufHeader, metadata: GgufMetadata) {
    this.#reader = new AheadReader(source);
    this.#file = header.file;
    const architecture = architectureOf(metadata);
    const tensors = new Map<string, CheckpointTensor>();
    const names = new TensorNames(architecture, metadata);
    for (const whole of header.tensors.values()) {
      if (ropeTensors.has(whole.name)) continue;
      for (const [name, tensor] of names.of(whole)) {
        if (tensors.has(name)) throw names.unknown(whole);
        tensors.set(name, shown(name, tensor, header.file));
        this.#places.set(name, {
          tensor,
          headRows: headRows(tensor, architecture, metadata),
          addsOne: architecture.addsOne && tensor.name.endsWith('norm.weight'),
        });
      }
      if (tensors.size > MAX_FILE_TENSORS) throw names.tooMany(whole);
    }
    this.tensors = tensors;
  }

  async *stream(tensor: CheckpointTensor): AsyncIterable<Uint8Array> {
    const place = this.#places.get(tensor.name)!;
    const columns = place.tensor.shape.length === 1 ? 1 : place.tensor.shape.at(-1)!;
    const bytes = columns * (tensor.dtype === 'f32' ? 4 : 2);
    for await (const rows of this.#rows(place, tensor.start / bytes, tensor.end / bytes, CHUNK_BYTES / bytes)) {
      yield place.addsOne ? lessOne(rows) : rows;
    }
  }

  /** The same rows as records of q4_32. Only of tensors that say so. */
  async *records(tensor: CheckpointTensor): AsyncIterable<Uint8Array> {
    const place = this.#places.get(tensor.name)!;
    const columns = place.tensor.shape.at(-1)!;
    const [first, end] = [tensor.start / (4 * columns), tensor.end / (4 * columns)];
    for await (const rows of this.#stored(place, first, end, CHUNK_BYTES / columns)) yield q4Records(rows, columns);
  }

  async *#rows(place: Place, first: number, end: number, atOnce: number): AsyncIterable<Uint8Array> {
    const { type } = place.tensor;
    for await (const rows of this.#stored(place, first, end, atOnce)) {
      yield isFloatType(type) ? rows : new Uint8Array(blockValues(type as BlockType, rows).buffer);
    }
  }

  /** Rows [first, end) as they are stored, in the order of the checkpoint. */
  async *#stored({ tensor, headRows }: Place, first: number, end: number, atOnce: number): AsyncIterable<Uint8Array> {
    const [rows] = tensor.shape as [number];
    const rowBytes = (tensor.end - tensor.start) / rows;
    const unit = Math.max(headRows, 1);
    const step = Math.max(Math.floor(atOnce / unit), 1) * unit;
    // Whole heads, of which the rows that are asked for are given out.
    let at = Math.floor(first / unit) * unit;
    const [from, to] = [at, Math.ceil(end / unit) * unit].map(row => tensor.start + row * rowBytes) as [number, number];
    for await (const read of this.#reader.chunks(this.#file, from, to, step * rowBytes)) {
      const inOrder = headRows === 0 ? read : halved(read, rowBytes, headRows);
      yield inOrder.subarray(Math.max(first - at, 0) * rowBytes, (end - at) * rowBytes);
      at += read.length / rowBytes;
    }
  }
}

function shown(name: string, { shape, type }: GgufTensor, file: string): CheckpointTensor {
  const elements = shape.reduce((product, size) => product * size, 1);
  const dtype = isFloatType(type) ? floatTypes[type] : 'f32';
  const bytes = elements * (dtype === 'f32' ? 4 : 2);
  const fewBits = isFloatType(type) ? {} : ({ roundsTo: 'f16' } as const);
  const records = type === 'Q4_0' && shape.length === 2 ? ({ records: 'q4_32' } as const) : {};
  return { name, dtype, shape, file, start: 0, end: bytes, ...fewBits, ...records };
}

/** Rows 2 i and 2 i + 1 of a head become rows i and i + half. */
function halved(bytes: Uint8Array, rowBytes: number, headRows: number): Uint8Array {
  const out = new Uint8Array(bytes.length);
  const half = headRows / 2;
  for (let row = 0; row * rowBytes < bytes.length; row++) {
    const within = row % headRows;
    const to = row - within + (within >> 1) + (within & 1) * half;
    out.set(bytes.subarray(row * rowBytes, (row + 1) * rowBytes), to * rowBytes);
  }
  return out;
}

function headRows({ name, shape }: GgufTensor, { turnsNeighbours }: GgufArchitecture, metadata: GgufMetadata): number {
  const kind = /\.attn_([qk])\.(weight|bias)$/.exec(name)?.[1];
  if (!turnsNeighbours || kind === undefined) return 0;
  const heads = metadata.size(metadata.own('attention.head_count'));
  const count = kind === 'q' ? heads : metadata.size(metadata.own('attention.head_count_kv'), heads);
  const rows = shape[0]! / count;
  // A shape that fits no head is told by who compares it with config.json.
  return Number.isInteger(rows) && rows % 2 === 0 ? rows : 0;
}

function lessOne(bytes: Uint8Array): Uint8Array {
  const values = new Float32Array(bytes.slice().buffer);
  return new Uint8Array(values.map(value => value - 1).buffer);
}
