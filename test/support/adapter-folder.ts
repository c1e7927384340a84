import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeFloats } from '@quire/core/program';
import type { ModelConfig } from '../../packages/core/src/models/config.ts';
import { architectureOf, loraLayers } from '../../packages/core/src/models/index.ts';

export interface FileTensor {
  readonly shape: readonly number[];
  /** Default: small integers. */
  readonly values?: ArrayLike<number>;
  readonly dtype?: 'F32' | 'F16' | 'I32';
}
export type FileTensors = Readonly<Record<string, FileTensor>>;

/** The bytes of a safetensors file. */
export function safetensors(tensors: FileTensors): Uint8Array {
  const header: Record<string, unknown> = {};
  const parts: Uint8Array[] = [];
  let length = 0;
  for (const [name, { shape, values, dtype = 'F32' }] of Object.entries(tensors)) {
    const count = shape.reduce((product, dim) => product * dim, 1);
    const numbers = Float32Array.from({ length: count }, (_, i) => values?.[i] ?? (i % 7) - 3);
    const raw = encodeFloats(dtype === 'F16' ? 'f16' : 'f32', numbers);
    const bytes = new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
    header[name] = { dtype, shape, data_offsets: [length, length + bytes.length] };
    parts.push(bytes);
    length += bytes.length;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const file = new Uint8Array(8 + text.length + length);
  new DataView(file.buffer).setUint32(0, text.length, true);
  let at = 8;
  for (const part of [text, ...parts]) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}

/** Writes a random adapter of all linear layers of a model, as PEFT does, into a folder of its own. Returns the folder. */
export function writeAdapterFolder(parent: string, name: string, config: ModelConfig, seed: number, rank = 2): string {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  const [prefix = ''] = architectureOf(config).prefixes;
  const tensors: Record<string, FileTensor> = {};
  for (const { depth, slices } of loraLayers(config)) {
    for (const { module, columns } of slices) {
      const path = `base_model.model.${prefix}${module}`;
      tensors[`${path}.lora_A.weight`] = { shape: [rank, depth], values: Array.from({ length: rank * depth }, random) };
      tensors[`${path}.lora_B.weight`] = {
        shape: [columns, rank],
        values: Array.from({ length: columns * rank }, random),
      };
    }
  }
  const folder = join(parent, name);
  mkdirSync(folder, { recursive: true });
  const settings = { peft_type: 'LORA', r: rank, lora_alpha: 2 * rank, target_modules: 'all-linear', bias: 'none' };
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(settings));
  writeFileSync(join(folder, 'adapter_model.safetensors'), safetensors(tensors));
  return folder;
}
