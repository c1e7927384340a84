/** Values of `quant_method` whose checkpoints are read. */
export const packedMethods = ['gptq', 'awq', 'compressed-tensors', 'fp8'] as const;
export type PackedMethod = (typeof packedMethods)[number];

/**
 * How the tensors of a matrix lie: GPTQ's and AWQ's words of codes of one column after the other, compressed-tensors' words of one
 * row after the other, or one byte for each element.
 */
export type PackedLayout = 'gptq' | 'awq' | 'rows' | 'bytes';

/** How a checkpoint has its matrices in few bits, as its quantization_config says. */
export interface PackedWeights {
  readonly method: PackedMethod;
  /** What says so, for messages: `quantization_config in config.json`, or another file. */
  readonly toldBy: string;
  readonly layout: PackedLayout;
  /** What a code is: an unsigned integer, of which a zero point is taken; a signed one; OCP E4M3. */
  readonly codes: 'u4' | 'u8' | 'i8' | 'f8e4m3';
  /** Columns that share a scale; 0: all of a row do. */
  readonly group: number;
  /** Rows that share a scale; 0: all do. */
  readonly blockRows: number;
  /** The zero point is the middle of the codes. Else each scale has its own. */
  readonly symmetric: boolean;
  /** What is added to a zero point as it is stored: 1 in GPTQ's first format. */
  readonly zeroOffset: 0 | 1;
  /** Names of modules, or parts of them, that are not in few bits. */
  readonly ignored: readonly string[];
}
