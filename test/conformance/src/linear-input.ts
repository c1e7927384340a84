import { decodeFloats } from '@quire/core/program';
import type { CaseInputs, FloatType } from './types.ts';

/** What a product has for its x, [rows, k]: the values, and how far each may be off. */
export type LinearInput = (
  inputs: CaseInputs,
  activations: FloatType,
  k: number,
) => { readonly x: Float32Array; readonly spread?: Float64Array };

/** The input of the case itself, which is exact. */
export const plainInput: LinearInput = (inputs, activations) => ({ x: decodeFloats(activations, inputs.x!) });
