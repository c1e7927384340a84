import type { FloatDType } from '../../contract/contract.ts';
import { ModelFormatError } from '../../errors.ts';
import { tensorBytes } from '../../weights/tensor-bytes.ts';
import type { Checkpoint, CheckpointTensor } from '../../weights/types.ts';
import { awqMatrix, gptqMatrix } from './columns.ts';
import { type PackedMatrix, PackedModule, type PackedReader, packedError } from './matrix.ts';
import type { PackedLayout, PackedWeights } from './packed-weights.ts';
import { bytesMatrix, rowsMatrix } from './rows.ts';
import { packedRecords, packedValues, recordDType } from './unpack.ts';

const CHUNK_BYTES = 4 << 20;

interface Layout {
  /** The tensor that a module has if it is in few bits. */
  readonly codes: string;
  /** Other tensors of such a module that are read, or have no meaning here. */
  readonly others: readonly string[];
  readonly open: (module: PackedModule) => Promise<PackedMatrix>;
}

const layouts: Readonly<Record<PackedLayout, Layout>> = {
  gptq: { codes: 'qweight', others: ['qzeros', 'scales', 'g_idx'], open: gptqMatrix },
  awq: { codes: 'qweight', others: ['qzeros', 'scales'], open: awqMatrix },
  rows: {
    codes: 'weight_packed',
    others: ['weight_scale', 'weight_zero_point', 'weight_shape', 'weight_g_idx'],
    open: rowsMatrix,
  },
  bytes: { codes: 'weight', others: ['weight_scale', 'weight_scale_inv', 'input_scale'], open: bytesMatrix },
};

/**
 * A checkpoint whose matrices are in few bits as a checkpoint of matrices: `x.qweight` and what belongs to it are shown as `x.weight` in
 * f32, which has no byte range in a file. Which modules are in few bits is told by their tensors. `isNeeded`: whether the model has a tensor.
 * One matrix is held at a time. Throws ModelFormatError WT_MISSING, WT_SHAPE, WT_DTYPE, WT_VALUE, WT_UNEXPECTED.
 */
export async function openPacked(
  checkpoint: Checkpoint,
  format: PackedWeights,
  isNeeded: (name: string) => boolean,
): Promise<Checkpoint> {
  const layout = layouts[format.layout];
  const modules = new Map<string, PackedMatrix>();
  for (const tensor of checkpoint.tensors.values()) {
    const name = moduleOf(tensor, layout, format);
    if (name === null) continue;
    checkNotIgnored(tensor, name, format);
    modules.set(name, await layout.open(new PackedModule(name, format, checkpoint, tensor)));
  }
  if (modules.size === 0) throw nothingPacked(checkpoint, layout, format);
  const tensors = new Map<string, CheckpointTensor>();
  for (const tensor of checkpoint.tensors.values()) {
    const at = tensor.name.lastIndexOf('.');
    const [name, part] = [tensor.name.slice(0, at), tensor.name.slice(at + 1)];
    const matrix = modules.get(name);
    if (matrix === undefined || (part !== layout.codes && !layout.others.includes(part))) {
      const isSpare = matrix !== undefined && part === 'bias' && !isNeeded(tensor.name);
      if (!isSpare || !(await isZero(checkpoint, tensor))) tensors.set(tensor.name, tensor);
    }
  }
  for (const [name, matrix] of modules) {
    const shown = `${name}.weight`;
    const plain = tensors.get(shown);
    if (plain !== undefined) {
      const details = { found: `${shown} and its codes`, expected: 'one of them' };
      throw packedError('WT_UNEXPECTED', 'a matrix is there twice', plain, details);
    }
    tensors.set(shown, shownAs(shown, matrix, format, tensors.get(`${name}.bias`)?.dtype));
  }
  return new PackedCheckpoint(checkpoint, format, tensors, modules);
}

/** The module whose codes a tensor is; null: it is none. Weights of one byte are told by their dtype. */
function moduleOf({ name, dtype }: CheckpointTensor, { codes }: Layout, format: PackedWeights): string | null {
  if (!name.endsWith(`.${codes}`) || (format.layout === 'bytes' && dtype !== format.codes)) return null;
  return name.slice(0, -codes.length - 1);
}

function checkNotIgnored(tensor: CheckpointTensor, module: string, { ignored, method, toldBy }: PackedWeights): void {
  const listed = ignored.find(name => `.${module}.`.includes(`.${name}.`));
  if (listed === undefined) return;
  throw packedError('WT_UNEXPECTED', 'a module is in few bits that should not be', tensor, {
    found: `${method} codes`,
    expected: `${module}.weight, since ${toldBy} lists ${listed} as not converted`,
  });
}

function nothingPacked(checkpoint: Checkpoint, { codes }: Layout, { method, codes: kind, toldBy }: PackedWeights) {
  const [first] = checkpoint.tensors.values();
  const dtype = codes === 'weight' ? ` of ${kind}` : '';
  return new ModelFormatError('WT_MISSING', 'no matrix of the checkpoint is in few bits', {
    file: first?.file ?? 'checkpoint',
    tensor: `*.${codes}`,
    found: `${checkpoint.tensors.size} tensors`,
    expected: `some named *.${codes}${dtype}, since ${toldBy} says ${method}`,
    advice: `Check that ${toldBy.split(' ').at(-1)} belongs to this checkpoint.`,
  });
}

/** Some tools write a bias of zeros for every module. */
async function isZero(checkpoint: Checkpoint, tensor: CheckpointTensor): Promise<boolean> {
  return (await tensorBytes(checkpoint, tensor)).every(byte => byte === 0);
}

/** In f16, which has the most digits, where the weight is no record; but in the dtype of its bias, with which it is computed. */
function shownAs(
  name: string,
  matrix: PackedMatrix,
  format: PackedWeights,
  bias: CheckpointTensor['dtype'] | undefined,
): CheckpointTensor {
  const { rows, columns, codes } = matrix;
  const records = recordDType(format, matrix);
  const roundsTo: FloatDType = bias === 'bf16' ? 'bf16' : 'f16';
  return {
    name,
    dtype: 'f32',
    shape: [rows, columns],
    file: codes.file,
    start: 0,
    end: 4 * rows * columns,
    roundsTo,
    ...(records !== null && { records }),
  };
}

class PackedCheckpoint implements Checkpoint {
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  readonly notices: readonly string[];
  readonly descriptor?: NonNullable<Checkpoint['descriptor']>;
  readonly #stored: Checkpoint;
  readonly #format: PackedWeights;
  readonly #modules: ReadonlyMap<string, PackedMatrix>;
  /** The matrix that was read last: parts of one are asked for one after the other. */
  #last: { readonly matrix: PackedMatrix; readonly reader: Promise<PackedReader> } | null = null;

  constructor(
    stored: Checkpoint,
    format: PackedWeights,
    tensors: ReadonlyMap<string, CheckpointTensor>,
    modules: ReadonlyMap<string, PackedMatrix>,
  ) {
    this.#stored = stored;
    this.#format = format;
    this.#modules = modules;
    this.tensors = tensors;
    this.notices = stored.notices ?? [];
    if (stored.descriptor !== undefined) this.descriptor = (tensor, bytes) => stored.descriptor!(tensor, bytes);
  }

  async *stream(tensor: CheckpointTensor): AsyncIterable<Uint8Array> {
    const matrix = this.#matrix(tensor);
    if (matrix === undefined) yield* this.#stored.stream(tensor);
    else
      for await (const rows of this.#rows(matrix, tensor))
        yield new Uint8Array(packedValues(this.#format, matrix, rows).buffer);
  }

  async *records(tensor: CheckpointTensor): AsyncIterable<Uint8Array> {
    const matrix = this.#matrix(tensor)!;
    for await (const rows of this.#rows(matrix, tensor))
      yield packedRecords(this.#format, matrix, tensor.records!, rows);
  }

  /** undefined: the tensor is stored as it is. */
  #matrix({ name, roundsTo }: CheckpointTensor): PackedMatrix | undefined {
    return roundsTo === undefined ? undefined : this.#modules.get(name.slice(0, -'.weight'.length));
  }

  async *#rows(matrix: PackedMatrix, tensor: CheckpointTensor) {
    if (this.#last?.matrix !== matrix) this.#last = { matrix, reader: matrix.open() };
    const read = await this.#last.reader;
    const rowBytes = 4 * matrix.columns;
    const [first, end] = [tensor.start / rowBytes, tensor.end / rowBytes];
    const step = Math.max(Math.floor(CHUNK_BYTES / rowBytes), 1);
    for (let row = first; row < end; row += step) yield await read(row, Math.min(end, row + step));
  }
}
