import { type DType, NONE, type Program, type StepSizes } from '../contract/contract.ts';
import type { ModelConfig } from '../models/config.ts';
import { declareCaches, declareState, type RowStateShape, stageOfLayer, stateTensors } from '../models/index.ts';
import { noSizes, ProgramBuilder } from '../program/index.ts';

/** Blocks that one run of `copyBlocks` or `zeroBlocks` takes; more take several runs. */
export const BLOCK_BATCH = 128;

/** Most words and segments of one row delta; more take several. */
export interface DeltaLimits {
  readonly words: number;
  readonly segments: number;
}

export interface CacheGeometry {
  readonly config: ModelConfig;
  /** Of the pipeline. */
  readonly stages: number;
  readonly numBlocks: number;
  readonly blockSize: number;
  readonly kvDtype: DType;
}

/** Applies `delta` u32 [limits.words] to the row state. */
export function buildDeltaProgram(limits: DeltaLimits, rowState: RowStateShape, vocabSize: number): Program {
  const builder = new ProgramBuilder('applyRowDelta', { ...noSizes, deltaSegments: limits.segments });
  const delta = builder.external('delta', 'u32', [limits.words]);
  const tensors = stateTensors(rowState, vocabSize);
  const state = declareState(builder, tensors, ['rows', 'blockTables', 'tokenIds', 'batch', 'biases']);
  builder.add({ op: 'applyRowDelta', delta, ...state });
  return builder.build();
}

/** Copies the blocks of `blockPairs` u32 [BLOCK_BATCH, 2] in every layer. */
export function buildCopyProgram(geometry: CacheGeometry): Program {
  const builder = new ProgramBuilder('copyBlocks', noSizes);
  const pairs = builder.external('blockPairs', 'u32', [BLOCK_BATCH, 2]);
  forEachCache(builder, geometry, caches => builder.add({ op: 'copyBlocks', ...caches, pairs }));
  return builder.build();
}

/** Clears the blocks of `blockList` u32 [BLOCK_BATCH] in every layer. */
export function buildZeroProgram(geometry: CacheGeometry): Program {
  const builder = new ProgramBuilder('zeroBlocks', noSizes);
  const blocks = builder.external('blockList', 'u32', [BLOCK_BATCH]);
  forEachCache(builder, geometry, caches => builder.add({ op: 'zeroBlocks', ...caches, blocks }));
  return builder.build();
}

/** What the sampler writes, for the programs that advance rows without one: nothing is in it. */
export const sampledTensor = { name: 'sampled', dtype: 'u32', shape: ['samples', 2] } as const;

/** Advances the rows of a model that makes embeddings. */
export function buildAdvanceProgram(maxSizes: StepSizes, rowState: RowStateShape, vocabSize: number): Program {
  const builder = new ProgramBuilder('advance', maxSizes);
  const tensors = stateTensors(rowState, vocabSize);
  const state = declareState(builder, tensors, ['batch', 'sequences', 'samples', 'rows', 'tokenIds', 'ring']);
  const sampled = builder.external(sampledTensor.name, sampledTensor.dtype, sampledTensor.shape);
  builder.add({ op: 'advanceRows', ...state, sampled });
  return builder.build();
}

/** The numbers in arrays of `length` words, the last one filled up with NONE. */
export function* paddedBatches(numbers: readonly number[], length: number): Generator<Uint32Array> {
  for (let at = 0; at < numbers.length; at += length) {
    const batch = new Uint32Array(length).fill(NONE);
    batch.set(numbers.slice(at, at + length));
    yield batch;
  }
}

function forEachCache(
  builder: ProgramBuilder,
  { config, stages, numBlocks, blockSize, kvDtype }: CacheGeometry,
  add: (caches: ReturnType<typeof declareCaches>) => void,
): void {
  const { numKvHeads: kvHeads, headDim } = config;
  for (let layer = 0; layer < config.numLayers; layer++) {
    if (stages > 1) builder.onStage(stageOfLayer(layer, config, stages));
    add(declareCaches(builder, layer, { numBlocks, kvHeads, blockSize, headDim, kvDtype }));
  }
}
