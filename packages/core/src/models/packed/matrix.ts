import { ModelFormatError } from '../../errors.ts';
import { tensorBytes } from '../../weights/tensor-bytes.ts';
import type { Checkpoint, CheckpointDType, CheckpointTensor } from '../../weights/types.ts';
import type { PackedWeights } from './packed-weights.ts';

/** A matrix [rows, columns] in few bits, as it lies in a checkpoint. A value is its scale times (code - zero point). */
export interface PackedMatrix {
  /** The tensor of the codes: the one that messages name. */
  readonly codes: CheckpointTensor;
  readonly rows: number;
  readonly columns: number;
  /** Columns that share a scale. */
  readonly group: number;
  /** The scale of each column, where it is not that of column / group. */
  readonly groupOf: Int32Array | null;
  /** Reads what is needed for any row: of some layouts the whole matrix. */
  open(): Promise<PackedReader>;
}

export type PackedReader = (first: number, end: number) => Promise<PackedRows>;

/** Some rows of a packed matrix. */
export interface PackedRows {
  /** [rows, bytes of a row]: codes one after the other, of 4 bits those of even columns in the low halves. Rows begin at words. */
  readonly codes: Uint8Array<ArrayBuffer>;
  /** [rows, groups] */
  readonly scales: Float32Array;
  /** [rows, groups]; null: the middle of the codes. */
  readonly zeros: Uint16Array | null;
}

/** The tensors of one module of a checkpoint, by the last part of their names. */
export class PackedModule {
  readonly name: string;
  readonly format: PackedWeights;
  readonly checkpoint: Checkpoint;
  readonly #beside: CheckpointTensor;

  /** `beside`: a tensor of the module that is there. */
  constructor(name: string, format: PackedWeights, checkpoint: Checkpoint, beside: CheckpointTensor) {
    this.name = name;
    this.format = format;
    this.checkpoint = checkpoint;
    this.#beside = beside;
  }

  find(part: string): CheckpointTensor | undefined {
    return this.checkpoint.tensors.get(`${this.name}.${part}`);
  }

  /** A tensor of one of these dtypes. Throws ModelFormatError WT_MISSING or WT_DTYPE. */
  get(part: string, dtypes: readonly CheckpointDType[]): CheckpointTensor {
    const tensor = this.find(part);
    if (tensor === undefined) {
      throw new ModelFormatError('WT_MISSING', 'a matrix in few bits lacks one of its tensors', {
        file: this.#beside.file,
        tensor: `${this.name}.${part}`,
        found: `${this.#beside.name} without it`,
        expected: `the tensors of ${this.format.method}`,
        advice: `Download the checkpoint again, or check ${this.format.toldBy}.`,
      });
    }
    if (!dtypes.includes(tensor.dtype)) {
      throw packedError('WT_DTYPE', 'a tensor of a matrix in few bits has another dtype', tensor, {
        found: tensor.dtype,
        expected: dtypes.join(' or '),
      });
    }
    return tensor;
  }

  /** Throws ModelFormatError WT_SHAPE unless the tensor has this shape. */
  expectShape(tensor: CheckpointTensor, shape: readonly number[], why: string): void {
    if (tensor.shape.length === shape.length && shape.every((size, i) => size === tensor.shape[i])) return;
    throw packedError('WT_SHAPE', 'a tensor of a matrix in few bits has another shape', tensor, {
      found: `[${tensor.shape.join(', ')}]`,
      expected: `[${shape.join(', ')}]: ${why}`,
    });
  }

  /** The shape of the tensor of the codes. Throws ModelFormatError WT_SHAPE unless there are two dimensions. */
  matrixShape(tensor: CheckpointTensor): readonly [number, number] {
    if (tensor.shape.length === 2 && tensor.shape.every(size => size > 0)) return tensor.shape as [number, number];
    throw packedError('WT_SHAPE', 'the codes of a matrix have no two dimensions', tensor, {
      found: `[${tensor.shape.join(', ')}]`,
      expected: 'rows and columns',
    });
  }

  async words(tensor: CheckpointTensor): Promise<Uint32Array> {
    return new Uint32Array((await tensorBytes(this.checkpoint, tensor)).buffer);
  }
}

export function packedError(
  code: string,
  summary: string,
  { file, name }: CheckpointTensor,
  details: { readonly found: string; readonly expected: string; readonly advice?: string },
): ModelFormatError {
  const advice = 'Check that quantization_config in config.json, or quantize_config.json, belongs to this checkpoint.';
  return new ModelFormatError(code, summary, { file, tensor: name, advice, ...details });
}

/**
 * The scale of each column, of a tensor of `columns` numbers below `groups`; null where they are in order. Throws ModelFormatError
 * WT_VALUE.
 */
export async function columnGroups(
  module: PackedModule,
  tensor: CheckpointTensor,
  { columns, group, groups }: { readonly columns: number; readonly group: number; readonly groups: number },
): Promise<Int32Array | null> {
  module.expectShape(tensor, [columns], 'one for each column');
  const bytes = await tensorBytes(module.checkpoint, tensor);
  const groupOf =
    tensor.dtype === 'i64'
      ? Int32Array.from(new BigInt64Array(bytes.buffer), at => (at >= 0 && at < groups ? Number(at) : -1))
      : new Int32Array(bytes.buffer);
  const wrong = groupOf.findIndex(at => at < 0 || at >= groups);
  if (wrong >= 0) {
    throw packedError('WT_VALUE', 'a column has a scale that is not there', tensor, {
      found: `${groupOf[wrong]} for column ${wrong}`,
      expected: `0 to ${groups - 1}`,
    });
  }
  return groupOf.every((at, column) => at === Math.floor(column / group)) ? null : groupOf;
}
