import { type CacheScales, type DType, isCacheDType, shapeBytes, type TensorName } from '../contract/contract.ts';
import type { ProgramBuilder } from '../program/index.ts';

/** Sizes of the KV cache of every layer. */
export interface CacheShape {
  /** The null block included. */
  readonly numBlocks: number;
  readonly kvHeads: number;
  readonly blockSize: number;
  readonly headDim: number;
  readonly kvDtype: DType;
}

export interface CacheTensor {
  readonly name: TensorName;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** The cache tensors of a layer by the field of the ops that name them: K, V and, where these hold codes, their scales. */
export function cacheTensors(
  layer: number,
  shape: CacheShape,
): Record<'kCache' | 'vCache', CacheTensor> & { kScales?: CacheTensor; vScales?: CacheTensor } {
  const { numBlocks, kvHeads, blockSize, headDim, kvDtype } = shape;
  const slots = [numBlocks, kvHeads, blockSize];
  const cache = (kind: 'k' | 'v') => ({ name: `${kind}Cache.${layer}`, dtype: kvDtype, shape: [...slots, headDim] });
  const tensors = { kCache: cache('k'), vCache: cache('v') };
  if (!isCacheDType(kvDtype)) return tensors;
  const scales = (kind: 'k' | 'v') => ({ name: `${kind}Scales.${layer}`, dtype: 'f32' as const, shape: slots });
  return { ...tensors, kScales: scales('k'), vScales: scales('v') };
}

/** Declares the cache tensors of a layer as externals of a program and returns their names. */
export function declareCaches(
  builder: ProgramBuilder,
  layer: number,
  shape: CacheShape,
): { kCache: TensorName; vCache: TensorName } & CacheScales {
  const named = Object.entries(cacheTensors(layer, shape)).map(([field, tensor]) => [
    field,
    builder.external(tensor.name, tensor.dtype, tensor.shape),
  ]);
  return Object.fromEntries(named) as { kCache: TensorName; vCache: TensorName } & CacheScales;
}

/** Bytes of one block of one layer: keys, values and their scales. */
export function cacheBlockBytes(shape: Omit<CacheShape, 'numBlocks'>): number {
  const tensors = Object.values(cacheTensors(0, { ...shape, numBlocks: 1 }));
  return tensors.reduce((bytes, tensor) => bytes + shapeBytes(tensor.dtype, tensor.shape), 0);
}
