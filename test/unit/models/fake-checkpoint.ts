import type { FloatDType } from '@quire/core/contract';
import { encodeFloats } from '@quire/core/program';
import type { ModelConfig } from '../../../packages/core/src/models/config.ts';
import { architectureOf } from '../../../packages/core/src/models/index.ts';
import type { Checkpoint, CheckpointTensor } from '../../../packages/core/src/weights/types.ts';

export interface FakeTensor {
  dtype: CheckpointTensor['dtype'];
  shape: readonly number[];
  values: Float32Array;
}

const floats: readonly string[] = ['f32', 'f16', 'bf16'];
const isFloat = (dtype: string): dtype is FloatDType => floats.includes(dtype);

/** A checkpoint in memory that streams in chunks of `chunkBytes`, which may end inside an element. */
export function fakeCheckpoint(tensors: Readonly<Record<string, FakeTensor>>, chunkBytes = 7): Checkpoint {
  const parts: Uint8Array[] = [];
  const entries = new Map<string, CheckpointTensor>();
  let start = 0;
  for (const [name, { dtype, shape, values }] of Object.entries(tensors)) {
    const raw = encodeFloats(isFloat(dtype) ? dtype : 'f32', values);
    const bytes = new Uint8Array(raw.buffer);
    entries.set(name, { name, dtype, shape, file: 'model.safetensors', start, end: start + bytes.length });
    parts.push(bytes);
    start += bytes.length;
  }
  const file = new Uint8Array(parts.flatMap(part => [...part]));
  return {
    tensors: entries,
    async *stream(tensor) {
      for (let at = tensor.start; at < tensor.end; at += chunkBytes) {
        yield file.slice(at, Math.min(at + chunkBytes, tensor.end));
      }
    },
  };
}

/** Every tensor that a model needs, filled with distinct small integers. */
export function completeTensors(
  config: ModelConfig,
  prefix: string,
  dtype: FloatDType = config.dtype,
): Record<string, FakeTensor> {
  const tensors: Record<string, FakeTensor> = {};
  let next = 0;
  for (const { sources } of architectureOf(config).weights(config)) {
    for (const { name, shape } of sources) {
      const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
      for (let i = 0; i < values.length; i++) values[i] = next++ % 251;
      tensors[name === 'lm_head.weight' ? name : prefix + name] = { dtype, shape, values };
    }
  }
  return tensors;
}
