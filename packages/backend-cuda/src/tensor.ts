import {
  DeviceError,
  type DeviceTensor,
  elementBytes,
  shapeBytes,
  type TensorSpec,
  type TypedArray,
} from '@quire/core/contract';
import type { NativeDevice } from './addon.ts';

/** A tensor in device memory, or a view into an arena. */
export class CudaTensor implements DeviceTensor {
  readonly spec: TensorSpec;
  readonly bytes: number;
  readonly handle: number;
  readonly offset: number;
  readonly #disposeListeners = new Set<() => void>();
  #release: (() => void) | null;

  constructor(spec: TensorSpec, location: { handle: number; offset: number }, release: () => void) {
    this.spec = spec;
    this.bytes = specBytes(spec);
    this.handle = location.handle;
    this.offset = location.offset;
    this.#release = release;
  }

  get disposed(): boolean {
    return this.#release === null;
  }

  dispose(): void {
    if (this.#release === null) return;
    this.#release();
    this.#release = null;
    for (const listener of this.#disposeListeners) listener();
    this.#disposeListeners.clear();
  }

  /** Returns what takes the listener away again. */
  onDispose(listener: () => void): () => void {
    this.#disposeListeners.add(listener);
    return () => this.#disposeListeners.delete(listener);
  }

  /** The byte offset in its allocation of element `offset`, checked to have room for `data`. */
  range(verb: string, offset: number, data: TypedArray): number {
    const size = elementBytes(this.spec.dtype);
    if (this.disposed) throw new DeviceError(`${verb} of tensor ${this.spec.name}: it was disposed of.`);
    if (data.BYTES_PER_ELEMENT !== size) {
      throw new DeviceError(
        `${verb} of tensor ${this.spec.name}: found elements of ${data.BYTES_PER_ELEMENT} bytes, expected ${size} (${this.spec.dtype}).`,
      );
    }
    const end = (offset + data.length) * size;
    if (!Number.isInteger(offset) || offset < 0 || end > this.bytes) {
      throw new DeviceError(
        `${verb} of tensor ${this.spec.name}: found elements ${offset} to ${offset + data.length}, expected at most ${this.bytes / size}.`,
      );
    }
    return this.offset + offset * size;
  }
}

export function specBytes({ shape, dtype }: TensorSpec): number {
  return shapeBytes(dtype, shape);
}

/** Allocates device memory for a spec; contents are zero. */
export function allocateTensor(native: NativeDevice, spec: TensorSpec, onFree: (bytes: number) => void): CudaTensor {
  const bytes = specBytes(spec);
  const handle = native.createTensor(bytes, spec.usage === 'kvCache' ? spec.shape[0]! : 0);
  return new CudaTensor(spec, { handle, offset: 0 }, () => {
    native.freeTensor(handle);
    onFree(bytes);
  });
}
