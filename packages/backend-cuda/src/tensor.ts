import { DeviceError, type DeviceTensor, dtypeBytes, type TensorSpec, type TypedArray } from '@quire/core/contract';
import type { NativeDevice } from './addon.ts';

/** A tensor in device memory, or a view into an arena. */
export class CudaTensor implements DeviceTensor {
  readonly spec: TensorSpec;
  readonly bytes: number;
  readonly handle: number;
  readonly offset: number;
  #release: (() => void) | null;

  constructor(spec: TensorSpec, location: { handle: number; offset: number }, release: () => void) {
    this.spec = spec;
    this.bytes = spec.shape.reduce((product, size) => product * size, 1) * dtypeBytes[spec.dtype];
    this.handle = location.handle;
    this.offset = location.offset;
    this.#release = release;
  }

  get disposed(): boolean {
    return this.#release === null;
  }

  dispose(): void {
    this.#release?.();
    this.#release = null;
  }

  /** The byte range of `data` at element `offset`, checked. */
  range(verb: string, offset: number, data: TypedArray): { start: number; length: number } {
    const size = dtypeBytes[this.spec.dtype];
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
    return { start: this.offset + offset * size, length: data.byteLength };
  }
}

/** Allocates device memory for a spec; contents are zero. */
export function allocateTensor(native: NativeDevice, spec: TensorSpec, onFree: (bytes: number) => void): CudaTensor {
  const bytes = spec.shape.reduce((product, size) => product * size, 1) * dtypeBytes[spec.dtype];
  const handle = native.createTensor(bytes);
  return new CudaTensor(spec, { handle, offset: 0 }, () => {
    native.freeTensor(handle);
    onFree(bytes);
  });
}
