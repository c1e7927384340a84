import { DeviceError } from '@quire/core/contract';
import { packParams } from './compile.ts';
import { dispatchGrid } from './grid.ts';
import { ELEMENTS_PER_WORKGROUP } from './kernel.ts';
import { type DeviceMemory, STAGING_USAGE, TENSOR_USAGE, UNIFORM_USAGE, type WebGpuTensor } from './memory.ts';
import type { Pipeline, PipelineCache } from './pipelines.ts';
import type { Pacer } from './read-back.ts';
import { shaderInfo } from './shader-text.ts';

const MOVE = { shader: 'device/move_blocks', fragments: {}, consts: {} } as const;

/** Copies of cache blocks in host memory. A slot holds one block of every kvCache tensor, in creation order, as one record. */
export class HostTier {
  readonly #device: GPUDevice;
  readonly #memory: DeviceMemory;
  readonly #pipelines: PipelineCache;
  readonly #pacer: Pacer;
  readonly #caches: WebGpuTensor[] = [];
  readonly #slots = new Map<number, Uint8Array>();
  /** Transfers run one after another, so that a slot is filled before it is read. */
  #last: Promise<void> = Promise.resolve();

  constructor(device: GPUDevice, memory: DeviceMemory, pipelines: PipelineCache, pacer: Pacer) {
    this.#device = device;
    this.#memory = memory;
    this.#pipelines = pipelines;
    this.#pacer = pacer;
  }

  add(cache: WebGpuTensor): void {
    this.#caches.push(cache);
  }

  remove(cache: WebGpuTensor): void {
    const index = this.#caches.indexOf(cache);
    if (index >= 0) this.#caches.splice(index, 1);
  }

  transfer(blocks: Int32Array, hostSlots: Int32Array, direction: 'toHost' | 'toDevice'): Promise<void> {
    if (blocks.length !== hostSlots.length) {
      throw new DeviceError(
        `transfer: found ${blocks.length} blocks and ${hostSlots.length} host slots, expected as many.`,
      );
    }
    const [from, to] = [blocks.slice(), hostSlots.slice()];
    const run = this.#last.then(() => this.#run(from, to, direction));
    this.#last = run.catch(() => {});
    return run;
  }

  async #run(blocks: Int32Array, hostSlots: Int32Array, direction: 'toHost' | 'toDevice'): Promise<void> {
    const pieces = this.#pieces(blocks);
    const recordBytes = pieces.reduce((bytes, piece) => bytes + piece.bytes, 0);
    if (blocks.length === 0 || recordBytes === 0) return;
    const temporary: GPUBuffer[] = [];
    const allocate = (label: string, bytes: number, usage: number): GPUBuffer => {
      const buffer = this.#memory.allocate(`transfer ${label}`, bytes, usage);
      temporary.push(buffer);
      return buffer;
    };
    try {
      const bytes = blocks.length * recordBytes;
      const staging = allocate('staging', bytes, TENSOR_USAGE);
      if (direction === 'toDevice') this.#fillStaging(staging, hostSlots, recordBytes);
      const encoder = this.#device.createCommandEncoder({ label: 'transfer' });
      await this.#encodeMoves(encoder, { blocks, pieces, recordBytes, staging, direction }, allocate);
      const landing = direction === 'toHost' ? allocate('landing', bytes, STAGING_USAGE) : undefined;
      if (landing !== undefined) encoder.copyBufferToBuffer(staging, 0, landing, 0, bytes);
      this.#device.queue.submit([encoder.finish()]);
      if (landing !== undefined) await this.#storeSlots(landing, hostSlots, recordBytes);
      else await this.#pacer.around(() => this.#device.queue.onSubmittedWorkDone());
    } finally {
      for (const buffer of temporary) this.#memory.free(buffer);
    }
  }

  /** What each cache adds to a record. Throws when a block is out of range. */
  #pieces(blocks: Int32Array): { cache: WebGpuTensor; bytes: number; offset: number }[] {
    let offset = 0;
    return this.#caches.map(cache => {
      const count = cache.spec.shape[0]!;
      const outside = blocks.find(block => block < 0 || block >= count);
      if (outside !== undefined) {
        throw new DeviceError(`transfer: found block ${outside}, expected one of the ${count} of ${cache.spec.name}.`);
      }
      const bytes = cache.bytes / count;
      if (bytes % 4 !== 0)
        throw new DeviceError(`transfer: ${cache.spec.name} has blocks of ${bytes} bytes, expected whole words.`);
      const piece = { cache, bytes, offset };
      offset += bytes;
      return piece;
    });
  }

  async #encodeMoves(
    encoder: GPUCommandEncoder,
    work: {
      blocks: Int32Array;
      pieces: { cache: WebGpuTensor; bytes: number; offset: number }[];
      recordBytes: number;
      staging: GPUBuffer;
      direction: 'toHost' | 'toDevice';
    },
    allocate: (label: string, bytes: number, usage: number) => GPUBuffer,
  ): Promise<void> {
    const pipeline: Pipeline = await this.#pipelines.get(MOVE);
    const { blocks, pieces, recordBytes, staging, direction } = work;
    const ids = allocate('blocks', blocks.byteLength, TENSOR_USAGE);
    this.#device.queue.writeBuffer(ids, 0, blocks);
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline.pipeline);
    this.#pipelines.dispatched.add(pipeline.name);
    for (const { cache, bytes, offset } of pieces) {
      const params = packParams(shaderInfo(MOVE.shader).params, {
        count: blocks.length,
        block_words: bytes / 4,
        stride: recordBytes / 4,
        offset: offset / 4,
        to_staging: Number(direction === 'toHost'),
      });
      const uniform = allocate('params', params.byteLength, UNIFORM_USAGE);
      this.#device.queue.writeBuffer(uniform, 0, params);
      const buffers = [cache.buffer, ids, staging, uniform];
      const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
      pass.setBindGroup(0, this.#device.createBindGroup({ label: 'transfer', layout: pipeline.layout, entries }));
      const grid = dispatchGrid(Math.ceil((blocks.length * bytes) / 4 / ELEMENTS_PER_WORKGROUP))!;
      pass.dispatchWorkgroups(grid[0], grid[1]);
    }
    pass.end();
  }

  #fillStaging(staging: GPUBuffer, hostSlots: Int32Array, recordBytes: number): void {
    hostSlots.forEach((slot, index) => {
      const record = this.#slots.get(slot);
      if (record?.byteLength !== recordBytes) throw new DeviceError(`transfer: host slot ${slot} holds no block.`);
      this.#device.queue.writeBuffer(staging, index * recordBytes, record.buffer, record.byteOffset, recordBytes);
    });
  }

  async #storeSlots(landing: GPUBuffer, hostSlots: Int32Array, recordBytes: number): Promise<void> {
    await this.#pacer.around(() => landing.mapAsync(1, 0, landing.size)); // GPUMapMode.READ
    const mapped = new Uint8Array(landing.getMappedRange());
    hostSlots.forEach((slot, index) => {
      this.#slots.set(slot, mapped.slice(index * recordBytes, (index + 1) * recordBytes));
    });
    landing.unmap();
  }
}
