export type GgufTensorType = 'F32' | 'F16' | 'BF16' | 'Q4_0' | 'Q8_0' | 'Q4_K' | 'Q6_K';
/** The bytes of a GGUF file of a model folder. */
export function folderToGguf(
  folder: string,
  type?: GgufTensorType,
  pre?: string,
  name?: string,
): Uint8Array<ArrayBuffer>;
