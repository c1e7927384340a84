import type { GgufTensorType } from './folder-to-gguf.mjs';

type Scalar = 'u32' | 'i32' | 'f32' | 'bool' | 'string';
/** The type of a value, and the value; of an array the type of its elements in brackets. */
export type GgufMetadata = Readonly<Record<string, readonly [type: Scalar | readonly [Scalar], value: unknown]>>;
export interface GgufTensorData {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: GgufTensorType;
  readonly data: ArrayBufferView;
}
export function writeGguf(metadata: GgufMetadata, tensors: readonly GgufTensorData[]): Uint8Array<ArrayBuffer>;
export function quantizeQ4_0(values: Float32Array): Uint8Array;
export function quantizeQ8_0(values: Float32Array): Uint8Array;
export function quantizeQ4_K(values: Float32Array): Uint8Array;
export function quantizeQ6_K(values: Float32Array): Uint8Array;
export function toHalf(value: number): number;
export function fromHalf(bits: number): number;
