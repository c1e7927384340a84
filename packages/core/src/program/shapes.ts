import { type Dim, type ProgramTensor, type SizeName, type StepSizes, shapeBytes } from '../contract/contract.ts';

/** Every symbolic size once. */
export const sizeNames = [
  'tokens',
  'sequences',
  'decodeSequences',
  'samples',
  'blocksPerSequence',
  'maxQueryTokens',
  'deltaSegments',
] as const satisfies readonly SizeName[];

/** A step of nothing, to be spread under the sizes that count. */
export const noSizes: StepSizes = {
  tokens: 0,
  sequences: 0,
  decodeSequences: 0,
  samples: 0,
  blocksPerSequence: 0,
  maxQueryTokens: 0,
  deltaSegments: 0,
};

/** The shape in numbers at the sizes of a step. */
export function resolveShape(shape: readonly Dim[], sizes: StepSizes): number[] {
  return shape.map(dim => (typeof dim === 'number' ? dim : sizes[dim]));
}

/** Elements of a shape at the sizes of a step. */
export function elementCount(shape: readonly Dim[], sizes: StepSizes): number {
  let count = 1;
  for (const dim of shape) count *= typeof dim === 'number' ? dim : sizes[dim];
  return count;
}

/** Bytes of a Program's tensor at the sizes of a step. */
export function tensorBytes(tensor: ProgramTensor, sizes: StepSizes): number {
  return shapeBytes(tensor.dtype, resolveShape(tensor.shape, sizes));
}

/** `f16 [tokens, 192]` */
export function formatTensor(tensor: { dtype: string; shape: readonly Dim[] }): string {
  return `${tensor.dtype} ${formatShape(tensor.shape)}`;
}

/** `[tokens, 192]` */
export function formatShape(shape: readonly (Dim | string)[]): string {
  return `[${shape.join(', ')}]`;
}
