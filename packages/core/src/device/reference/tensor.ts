import {
  DeviceError,
  type DeviceTensor,
  type DType,
  elementBytes,
  isCacheDType,
  isQuantDType,
  shapeBytes,
  type TensorSpec,
  type TypedArray,
} from '../../contract/contract.ts';
import type { RawArray, Storage } from './lib/views.ts';

/** The device's ledger of bytes. `allocate` throws DeviceLostError on a device that is gone. */
export interface Ledger {
  allocate(bytes: number): void;
  free(bytes: number): void;
}

/** A tensor in JavaScript memory: its own, or a part of an arena. */
export class ReferenceTensor implements DeviceTensor, Storage {
  readonly spec: TensorSpec;
  readonly bytes: number;
  readonly raw: RawArray;
  decodedVersion = -1;
  readonly #ledger: Ledger;
  readonly #ownBytes: number;
  readonly #onDispose: (() => void) | undefined;
  #decoded: Float32Array | undefined;
  #version = 0;
  #disposed = false;

  /** Without `place`, memory of its own, all zero. */
  constructor(
    spec: TensorSpec,
    ledger: Ledger,
    place?: { buffer: ArrayBuffer; offset: number },
    onDispose?: () => void,
  ) {
    this.spec = spec;
    this.bytes = specBytes(spec);
    this.#ledger = ledger;
    this.#ownBytes = place === undefined ? this.bytes : 0;
    this.#onDispose = onDispose;
    ledger.allocate(this.#ownBytes);
    this.raw = rawView(
      spec.dtype,
      place?.buffer ?? new ArrayBuffer(this.bytes),
      place?.offset ?? 0,
      this.bytes / elementBytes(spec.dtype),
    );
  }

  get dtype(): DType {
    return this.spec.dtype;
  }
  get version(): number {
    return this.#version;
  }
  get disposed(): boolean {
    return this.#disposed;
  }

  decodedValues(): Float32Array {
    if (this.#decoded === undefined) {
      const values = this.spec.shape.reduce((count, dim) => count * dim, 1);
      this.#ledger.allocate(values * 4);
      this.#decoded = new Float32Array(values);
    }
    return this.#decoded;
  }

  /** Copies the bits of `data` to element `offset` on. */
  write(data: TypedArray, offset: number): void {
    this.writeBytes(bytesOf(data), offset * elementBytes(this.dtype));
  }

  writeBytes(data: Uint8Array, start: number): void {
    this.#version++;
    bytesOf(this.raw).set(data, start);
  }

  read(offset: number, into: TypedArray): void {
    const start = offset * elementBytes(this.dtype);
    bytesOf(into).set(bytesOf(this.raw).subarray(start, start + into.byteLength));
  }

  /** Throws DeviceError unless `data` has elements of this tensor's width and lies within it from `offset` on. */
  checkRange(action: 'read' | 'write', offset: number, data: TypedArray): void {
    const fail = (found: string, expected: string) => {
      throw new DeviceError(`${action} of tensor ${this.spec.name}: found ${found}, expected ${expected}.`);
    };
    if (this.disposed) fail('a disposed tensor', 'a live one');
    const { length } = this.raw;
    if (data.BYTES_PER_ELEMENT !== this.raw.BYTES_PER_ELEMENT) {
      fail(data.constructor.name, `elements of ${this.raw.BYTES_PER_ELEMENT} bytes (${this.dtype})`);
    }
    if (!Number.isInteger(offset) || offset < 0 || offset + data.length > length) {
      fail(`elements ${offset} .. ${offset + data.length}`, `a range within 0 .. ${length}`);
    }
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#ledger.free(this.#ownBytes + (this.#decoded?.byteLength ?? 0));
    this.#onDispose?.();
  }
}

export function specBytes(spec: TensorSpec): number {
  return shapeBytes(spec.dtype, spec.shape);
}

function rawView(dtype: DType, buffer: ArrayBuffer, offset: number, elements: number): RawArray {
  if (dtype === 'f32') return new Float32Array(buffer, offset, elements);
  if (dtype === 'u32' || isQuantDType(dtype)) return new Uint32Array(buffer, offset, elements);
  return isCacheDType(dtype) ? new Uint8Array(buffer, offset, elements) : new Uint16Array(buffer, offset, elements);
}

export function bytesOf(data: TypedArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
