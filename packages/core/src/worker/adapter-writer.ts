import type { TensorSpec, TypedArray } from '../contract/contract.ts';
import { type AdapterWeights, loraLayers, loraTensors } from '../models/index.ts';
import { decodeFloats, encodeFloats } from '../program/index.ts';
import type { DeviceModel } from './device-model.ts';
import type { AdapterLoad } from './types.ts';

/**
 * Brings an adapter to its slot on the device, behind everything submitted so far. Layers that it does not change become zero, so
 * that nothing is left of the adapter that was there.
 */
export function writeAdapter(model: DeviceModel, { slot, weights }: AdapterLoad): void {
  const { lora, dtypes } = model.plan;
  for (const layer of loraLayers(model.config)) {
    const parts = weights.layers.get(layer.name);
    const tensors = loraTensors(layer, lora!, dtypes.activations);
    for (const field of ['a', 'b', 'scales'] as const) {
      const target = model.tensor(tensors[field].name);
      const length = target.spec.shape.slice(1).reduce((product, dim) => product * dim, 1);
      if (parts === undefined) model.device.write(target, zeros(target.spec, length), slot * length);
      parts?.forEach((part, rank) => {
        model.device.write(target, fitted(part[field], weights, target.spec), slot * length, rank);
      });
    }
  }
}

function zeros({ dtype }: TensorSpec, length: number): TypedArray {
  return dtype === 'f32' ? new Float32Array(length) : new Uint16Array(length);
}

/** As it is kept, unless a device that took the place of another one computes in another dtype. */
function fitted(values: TypedArray, { dtype }: AdapterWeights, spec: TensorSpec): TypedArray {
  if (values instanceof Float32Array && spec.dtype === 'f32') return values;
  if (values instanceof Uint16Array && spec.dtype === dtype) return values;
  const decoded = values instanceof Float32Array ? values : decodeFloats(dtype, values);
  return spec.dtype === 'f32' ? decoded : encodeFloats(spec.dtype, decoded);
}
