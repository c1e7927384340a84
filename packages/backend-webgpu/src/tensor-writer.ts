import { DeviceError } from '@quire/core/contract';
import { packParams } from './compile.ts';
import { type DeviceMemory, UNIFORM_USAGE, type WebGpuTensor } from './memory.ts';
import type { Pipeline, PipelineCache } from './pipelines.ts';
import type { Pacer } from './read-back.ts';
import { shaderInfo } from './shader-text.ts';

/** Bytes that an upload hands to the queue before it waits for the device. */
const UPLOAD_WINDOW = 32 * 2 ** 20;
const PATCH = { shader: 'device/patch_word', fragments: {}, consts: {} } as const;

/** Writes bytes into tensors at any element, although WebGPU writes whole words only. */
export class TensorWriter {
  readonly #device: GPUDevice;
  readonly #memory: DeviceMemory;
  readonly #pipelines: PipelineCache;
  readonly #pacer: Pacer;
  #patch: Pipeline | undefined;

  constructor(device: GPUDevice, memory: DeviceMemory, pipelines: PipelineCache, pacer: Pacer) {
    this.#device = device;
    this.#memory = memory;
    this.#pipelines = pipelines;
    this.#pacer = pacer;
  }

  /** Puts `data` at byte `start`, in queue order. */
  write(tensor: WebGpuTensor, start: number, data: Uint8Array): void {
    let from = 0;
    let end = data.byteLength;
    if (start % 4 !== 0 && end > 0) {
      this.#patchBytes(tensor, start, data.subarray(0, 2));
      from = 2;
    }
    const reachesEnd = start + end === tensor.bytes;
    const tail = Math.max(0, (end - from) % 4);
    if (tail !== 0) {
      end -= tail;
      // The allocation goes on to the end of the word, but a view into an arena has a neighbour there.
      if (reachesEnd && tensor.byteOffset === 0) this.#writeWords(tensor, start + end, padded(data.subarray(end)));
      else this.#patchBytes(tensor, start + end, data.subarray(end));
    }
    if (end > from) this.#writeWords(tensor, start + from, data.subarray(from, end));
  }

  /** Fills the tensor from its bytes in order. `assertOpen` throws once the device has ended. */
  async upload(tensor: WebGpuTensor, chunks: AsyncIterable<Uint8Array>, assertOpen: () => void): Promise<void> {
    const { name } = tensor.spec;
    let carry = new Uint8Array(0);
    let written = 0;
    let window = 0;
    for await (const chunk of chunks) {
      assertOpen();
      const bytes = carry.length === 0 ? chunk : concatenate(carry, chunk);
      if (written + bytes.length > tensor.bytes) {
        throw new DeviceError(`upload of ${name}: found more than the ${tensor.bytes} bytes of the tensor.`);
      }
      const whole = bytes.length & ~3;
      if (whole > 0) this.#writeWords(tensor, written, bytes.subarray(0, whole));
      written += whole;
      window += whole;
      carry = bytes.slice(whole);
      if (window < UPLOAD_WINDOW) continue;
      window = 0;
      await this.#pacer.around(() => this.#device.queue.onSubmittedWorkDone());
    }
    if (written + carry.length !== tensor.bytes) {
      throw new DeviceError(`upload of ${name}: found ${written + carry.length} bytes, expected ${tensor.bytes}.`);
    }
    if (carry.length > 0) this.#writeWords(tensor, written, padded(carry));
  }

  #writeWords(tensor: WebGpuTensor, start: number, data: Uint8Array): void {
    const { buffer, byteOffset, byteLength } = data;
    this.#device.queue.writeBuffer(tensor.buffer, tensor.byteOffset + start, buffer, byteOffset, byteLength);
  }

  /** Changes one or two bytes pairs of a word and leaves the rest of it. */
  #patchBytes(tensor: WebGpuTensor, start: number, data: Uint8Array): void {
    const shift = (start % 4) * 8;
    const mask = ((2 ** (data.length * 8) - 1) << shift) >>> 0;
    const value = (data.reduce((bits, byte, i) => bits + byte * 2 ** (8 * i), 0) << shift) >>> 0;
    const params = packParams(shaderInfo(PATCH.shader).params, { word: start >> 2, mask, value });
    const uniform = this.#memory.allocate('patch', params.byteLength, UNIFORM_USAGE);
    this.#device.queue.writeBuffer(uniform, 0, params);
    this.#patch ??= this.#pipelines.getNow(PATCH);
    const words = { buffer: tensor.buffer, offset: tensor.byteOffset, size: Math.ceil(tensor.bytes / 4) * 4 };
    const entries = [
      { binding: 0, resource: words },
      { binding: 1, resource: { buffer: uniform } },
    ];
    const group = this.#device.createBindGroup({ label: 'patch', layout: this.#patch.layout, entries });
    const encoder = this.#device.createCommandEncoder({ label: 'patch' });
    const pass = encoder.beginComputePass();
    pass.setPipeline(this.#patch.pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(1);
    pass.end();
    this.#device.queue.submit([encoder.finish()]);
    this.#pipelines.dispatched.add(this.#patch.name);
    this.#memory.free(uniform);
  }
}

/** The bytes up to the end of their word. */
function padded(data: Uint8Array): Uint8Array {
  const word = new Uint8Array(4);
  word.set(data);
  return word;
}

function concatenate(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
