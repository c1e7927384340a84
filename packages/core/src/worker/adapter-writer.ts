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
    const values = weights.layers.get(layer.name);
    const tensors = loraTensors(layer, lora!, dtypes.activations);
    for (const field of ['a', 'b', 'scales'] as const) {
      const target = model.tensor(tensors[field].name);
      const length = target.spec.shape.slice(1).reduce((product, dim) => product * dim, 1);
      const data = values === undefined ? zeros(target.spec, length) : fitted(values[field], weights, target.spec);
      model.device.write(target, data, slot * length);
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
