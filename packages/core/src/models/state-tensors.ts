import {
  BATCH_WORDS,
  type Dim,
  type DType,
  ROW_WORDS,
  SAMPLE_WORDS,
  SEQUENCE_WORDS,
  type StepSizes,
} from '../contract/contract.ts';
import type { ProgramBuilder } from '../program/index.ts';
import type { ModelConfig } from './config.ts';

/** Sizes of the row state, in elements. */
export interface RowStateShape {
  maxRows: number;
  maxBlocksPerSequence: number;
  maxModelLen: number;
  ringSlots: number;
  maxBiasWords: number;
}

/** A tensor that programs share under one name; a size of the step in its shape stands for its maximum. */
export interface StateTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly Dim[];
}

/** The tensors of the row state (see `Row` in the contract), and `sequences`, `samples` and `logits`, by which programs hand over. */
export function stateTensors(shape: RowStateShape, vocabSize: number) {
  const u32 = (name: string, dims: readonly Dim[]): StateTensor => ({ name, dtype: 'u32', shape: dims });
  return {
    rows: u32('rows', [shape.maxRows, ROW_WORDS]),
    blockTables: u32('blockTables', [shape.maxRows, shape.maxBlocksPerSequence]),
    tokenIds: u32('tokenIds', [shape.maxRows, shape.maxModelLen]),
    batch: u32('batch', [1 + shape.maxRows, BATCH_WORDS]),
    biases: u32('biases', [shape.maxRows, shape.maxBiasWords]),
    ring: u32('ring', [shape.ringSlots, shape.maxRows, 2]),
    sequences: u32('sequences', ['sequences', SEQUENCE_WORDS]),
    samples: u32('samples', ['samples', SAMPLE_WORDS]),
    logits: { name: 'logits', dtype: 'f32', shape: ['samples', vocabSize] } satisfies StateTensor,
  } as const;
}
export type StateName = keyof ReturnType<typeof stateTensors>;

/** What is pooled of the sequence of each row, by models that make embeddings. */
export function pooledTensor({ maxRows }: RowStateShape, config: ModelConfig): StateTensor {
  return { name: 'pooled', dtype: 'f32', shape: [maxRows, pooledWidth(config)] };
}

/** Elements of an embedding. */
export function pooledWidth({ hiddenSize, opt }: ModelConfig): number {
  return opt?.wordEmbedProjDim ?? hiddenSize;
}

/** Declares shared tensors as externals of a program and returns their names. */
export function declareState<N extends StateName>(
  builder: ProgramBuilder,
  tensors: ReturnType<typeof stateTensors>,
  names: readonly N[],
): Record<N, string> {
  const declared = {} as Record<N, string>;
  for (const name of names) declared[name] = builder.external(name, tensors[name].dtype, tensors[name].shape);
  return declared;
}

/** The shape with every size of the step at its maximum. */
export function maximalShape(shape: readonly Dim[], maxSizes: StepSizes): number[] {
  return shape.map(dim => (typeof dim === 'number' ? dim : maxSizes[dim]));
}
