import { DeviceError } from '../../contract/contract.ts';
import { bytesOf, type ReferenceTensor } from './tensor.ts';

/** KV blocks in host memory: one contiguous record per slot, the blocks of all cache tensors in their order of creation. */
export class HostTier {
  readonly #slots = new Map<number, Uint8Array>();

  /** Throws DeviceError for a block that a cache lacks, or a slot that was never filled. */
  move(caches: readonly ReferenceTensor[], block: number, slot: number, direction: 'toHost' | 'toDevice'): void {
    const bytes = caches.reduce((sum, cache) => sum + blockBytes(cache, block), 0);
    const record = direction === 'toHost' ? this.#slot(slot, bytes) : this.#slots.get(slot);
    if (record === undefined) throw new DeviceError(`transfer: found host slot ${slot} empty, expected a block in it.`);
    let at = 0;
    for (const cache of caches) {
      const size = blockBytes(cache, block);
      const start = block * size;
      if (direction === 'toHost') record.set(bytesOf(cache.raw).subarray(start, start + size), at);
      else cache.writeBytes(record.subarray(at, at + size), start);
      at += size;
    }
  }

  clear(): void {
    this.#slots.clear();
  }

  #slot(slot: number, bytes: number): Uint8Array {
    const record = this.#slots.get(slot) ?? new Uint8Array(bytes);
    this.#slots.set(slot, record);
    return record;
  }
}

function blockBytes(cache: ReferenceTensor, block: number): number {
  const blocks = cache.spec.shape[0]!;
  if (block >= 0 && block < blocks) return cache.bytes / blocks;
  throw new DeviceError(`transfer: found block ${block}, expected 0 .. ${blocks - 1} (${cache.spec.name}).`);
}
