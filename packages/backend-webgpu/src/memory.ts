import {
  DeviceError,
  type DeviceTensor,
  elementBytes,
  shapeBytes,
  type TensorSpec,
  type TypedArray,
} from '@quire/core/contract';

/** Storage bindings of vec4 elements need whole ones, and copies whole words. */
const ALLOCATION_UNIT = 16;
export const TENSOR_USAGE = 0x80 | 0x04 | 0x08; // STORAGE | COPY_SRC | COPY_DST
export const UNIFORM_USAGE = 0x40 | 0x08; // UNIFORM | COPY_DST
export const STAGING_USAGE = 0x01 | 0x08; // MAP_READ | COPY_DST

/** Every buffer of a device, counted. WebGPU frees only what is destroyed. */
export class DeviceMemory {
  readonly #device: GPUDevice;
  readonly #onExhausted: (error: DeviceError) => void;
  readonly #buffers = new Set<GPUBuffer>();
  #bytes = 0;

  constructor(device: GPUDevice, onExhausted: (error: DeviceError) => void) {
    this.#device = device;
    this.#onExhausted = onExhausted;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** A zeroed buffer of at least `bytes`. Exhausted memory is reported a moment later. */
  allocate(label: string, bytes: number, usage: GPUBufferUsageFlags, onExhausted = this.#onExhausted): GPUBuffer {
    const size = Math.max(ALLOCATION_UNIT, Math.ceil(bytes / ALLOCATION_UNIT) * ALLOCATION_UNIT);
    this.#device.pushErrorScope('out-of-memory');
    const buffer = this.#device.createBuffer({ label, size, usage });
    this.#device.popErrorScope().then(
      error => {
        if (error === null) return;
        const advice = 'lower the KV cache or load a smaller model';
        onExhausted(new DeviceError(`no memory for ${label} (${size} bytes): ${error.message}; ${advice}.`));
      },
      () => {}, // The device is gone, and says so by itself.
    );
    this.#buffers.add(buffer);
    this.#bytes += size;
    return buffer;
  }

  free(buffer: GPUBuffer): void {
    if (!this.#buffers.delete(buffer)) return;
    this.#bytes -= buffer.size;
    buffer.destroy();
  }

  freeAll(): void {
    for (const buffer of [...this.#buffers]) this.free(buffer);
  }
}

/** A tensor in a buffer of its own. */
export class WebGpuTensor implements DeviceTensor {
  readonly spec: TensorSpec;
  readonly bytes: number;
  readonly buffer: GPUBuffer;
  /** Where it starts in the buffer: 0, except for temporaries of a program compiled with keepAll. */
  readonly byteOffset: number;
  readonly #owner: DeviceMemory;
  #dispose: (() => void) | undefined;

  constructor(owner: DeviceMemory, spec: TensorSpec, buffer: GPUBuffer, byteOffset: number, dispose: () => void) {
    this.#owner = owner;
    this.spec = spec;
    this.bytes = specBytes(spec);
    this.buffer = buffer;
    this.byteOffset = byteOffset;
    this.#dispose = dispose;
  }

  belongsTo(memory: DeviceMemory): boolean {
    return this.#owner === memory;
  }

  get disposed(): boolean {
    return this.#dispose === undefined;
  }

  dispose(): void {
    this.#dispose?.();
    this.#dispose = undefined;
  }
}

export function specBytes(spec: TensorSpec): number {
  return shapeBytes(spec.dtype, spec.shape);
}

/** The tensor as one of the device with this memory, alive. Throws DeviceError otherwise. */
export function ownTensor(tensor: DeviceTensor, memory: DeviceMemory): WebGpuTensor {
  const { name } = tensor.spec;
  if (!(tensor instanceof WebGpuTensor && tensor.belongsTo(memory))) {
    throw new DeviceError(`tensor ${name}: found one of another device, expected one of this device.`);
  }
  if (tensor.disposed) throw new DeviceError(`tensor ${name} was disposed of before this use.`);
  return tensor;
}

/** Byte range of `count` elements from `offset`. Throws unless it lies in the tensor and `data` has elements of its width. */
export function elementRange(tensor: WebGpuTensor, offset: number, data: TypedArray): { start: number; bytes: number } {
  const { name, dtype } = tensor.spec;
  const width = elementBytes(dtype);
  if (data.BYTES_PER_ELEMENT !== width) {
    throw new DeviceError(
      `tensor ${name}: found ${data.constructor.name}, expected elements of ${width} bytes (${dtype}).`,
    );
  }
  const start = offset * width;
  if (!Number.isInteger(offset) || offset < 0 || start + data.byteLength > tensor.bytes) {
    const found = `elements ${offset} .. ${offset + data.length}`;
    throw new DeviceError(
      `tensor ${name}: found ${found}, expected a range within its ${tensor.bytes / width} elements.`,
    );
  }
  return { start, bytes: data.byteLength };
}
