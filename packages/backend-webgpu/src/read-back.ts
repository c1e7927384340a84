import type { DeviceMemory } from './memory.ts';
import { STAGING_USAGE } from './memory.ts';

/** Bridges the time until the device has caught up, so that nothing polls meanwhile. */
export interface Pacer {
  /** Says that steps of so many tokens were submitted: what the next wait is for. */
  queued(tokens: number): void;
  /** Waits about as long as the device's work has lately taken, runs `finish`, and learns from how long that took. */
  around(finish: () => Promise<unknown>): Promise<void>;
}
export const noPacer: Pacer = {
  queued() {},
  async around(finish) {
    await finish();
  },
};

interface PendingRead {
  readonly buffer: GPUBuffer;
  /** Bytes from the start of the buffer. */
  readonly start: number;
  readonly into: Uint8Array;
}
interface Batch {
  readonly reads: PendingRead[];
  bytes: number;
  readonly done: Promise<void>;
  settle(work: Promise<void>): void;
}

const MIN_STAGING = 4096;
/** Staging buffers that are kept for the next reads. */
const MAX_POOLED = 8;

/**
 * Reads that are asked for one after another share one staging buffer, one copy and one mapping. The copy is submitted
 * before anything else that changes memory, so a read is a snapshot at its place in the queue.
 */
export class ReadBack {
  readonly #device: GPUDevice;
  readonly #memory: DeviceMemory;
  readonly #pacer: Pacer;
  readonly #pool: GPUBuffer[] = [];
  #batch: Batch | undefined;

  constructor(device: GPUDevice, memory: DeviceMemory, pacer: Pacer) {
    this.#device = device;
    this.#memory = memory;
    this.#pacer = pacer;
  }

  /** Resolves when `into` holds the bytes that the buffer has at this place of the queue. */
  read(buffer: GPUBuffer, start: number, into: Uint8Array): Promise<void> {
    const batch = this.#openBatch();
    batch.reads.push({ buffer, start, into });
    batch.bytes += copySpan(start, into.byteLength).bytes;
    return batch.done;
  }

  /** Submits the copies of the reads so far. Called before each write and submit. */
  flush(): void {
    const batch = this.#batch;
    if (batch === undefined) return;
    this.#batch = undefined;
    batch.settle(this.#run(batch));
  }

  #openBatch(): Batch {
    if (this.#batch !== undefined) return this.#batch;
    let settle: Batch['settle'] = () => {};
    const done = new Promise<void>(resolve => {
      settle = resolve;
    });
    this.#batch = { reads: [], bytes: 0, done, settle };
    queueMicrotask(() => this.flush());
    return this.#batch;
  }

  async #run(batch: Batch): Promise<void> {
    const staging = this.#takeStaging(batch.bytes);
    const encoder = this.#device.createCommandEncoder({ label: 'read' });
    let offset = 0;
    for (const { buffer, start, into } of batch.reads) {
      const span = copySpan(start, into.byteLength);
      if (span.bytes > 0) encoder.copyBufferToBuffer(buffer, span.start, staging, offset, span.bytes);
      offset += span.bytes;
    }
    this.#device.queue.submit([encoder.finish()]);
    await this.#pacer.around(() => staging.mapAsync(1, 0, staging.size)); // GPUMapMode.READ
    const mapped = new Uint8Array(staging.getMappedRange());
    offset = 0;
    for (const { start, into } of batch.reads) {
      const span = copySpan(start, into.byteLength);
      into.set(mapped.subarray(offset + start - span.start, offset + start - span.start + into.byteLength));
      offset += span.bytes;
    }
    staging.unmap();
    if (this.#pool.length < MAX_POOLED) this.#pool.push(staging);
    else this.#memory.free(staging);
  }

  #takeStaging(bytes: number): GPUBuffer {
    const index = this.#pool.findIndex(buffer => buffer.size >= bytes);
    if (index >= 0) return this.#pool.splice(index, 1)[0]!;
    const size = 2 ** Math.ceil(Math.log2(Math.max(bytes, MIN_STAGING)));
    return this.#memory.allocate('read staging', size, STAGING_USAGE);
  }
}

/** Copies move whole words: the span of words around a range of bytes. */
function copySpan(start: number, bytes: number): { start: number; bytes: number } {
  const first = start & ~3;
  return { start: first, bytes: bytes === 0 ? 0 : ((start + bytes + 3) & ~3) - first };
}
