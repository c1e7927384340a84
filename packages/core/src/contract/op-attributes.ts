/** What several ops have in common. */

/** Of a tensor in a Program. */
export type TensorName = string;

export type Activation = 'none' | 'relu' | 'silu' | 'gelu' | 'geluTanh';

/** Geometry of the attention of one layer and of its cache. */
export interface AttentionShape {
  heads: number;
  kvHeads: number;
  headDim: number;
  blockSize: number;
}

/** Scales of caches in i8 or f8e4m3 (dtypes.ts), f32 [blocks, kvHeads, blockSize]: with such caches, and with no others. */
export interface CacheScales {
  kScales?: TensorName;
  vScales?: TensorName;
}

/**
 * RMS norms of heads (Qwen3's QK norm): before they are rotated, each query head becomes head / sqrt(mean(head^2) + eps) * qNorm,
 * each key head the same with kNorm, both weights [headDim]; not rounded in between. The three come together or not at all.
 */
export interface HeadNorms {
  qNorm?: TensorName;
  kNorm?: TensorName;
  normEps?: number;
}
