import { DeviceError } from '@quire/core/contract';
import type { NativeDevice } from './addon.ts';
import type { CudaTensor } from './tensor.ts';

/** What the native host tier relies on: blocks that exist, and slots that were filled. Caches are all KV caches of the device. */
export class HostTier {
  readonly #native: NativeDevice;
  readonly #caches = new Set<CudaTensor>();
  readonly #filledSlots = new Set<number>();

  constructor(native: NativeDevice) {
    this.#native = native;
  }

  /** The records of the caches so far fit no longer: all slots are empty. */
  add(cache: CudaTensor): void {
    this.#caches.add(cache);
    this.#filledSlots.clear();
    cache.onDispose(() => {
      this.#caches.delete(cache);
      this.#filledSlots.clear();
    });
  }

  /** Runs behind what is queued now, beside what is queued later. */
  transfer(blocks: Int32Array, hostSlots: Int32Array, direction: 'toHost' | 'toDevice'): Promise<void> {
    if (blocks.length !== hostSlots.length) {
      throw new DeviceError(
        `transfer: found ${blocks.length} blocks and ${hostSlots.length} host slots, expected as many.`,
      );
    }
    for (const block of blocks) this.#checkBlock(block);
    if (direction === 'toHost') for (const slot of hostSlots) this.#filledSlots.add(slot);
    else for (const slot of hostSlots) this.#checkSlot(slot);
    return this.#native.transfer(blocks, hostSlots, direction === 'toHost');
  }

  #checkBlock(block: number): void {
    for (const { spec } of this.#caches) {
      const blocks = spec.shape[0]!;
      if (block >= 0 && block < blocks) continue;
      throw new DeviceError(`transfer: found block ${block}, expected 0 .. ${blocks - 1} (${spec.name}).`);
    }
  }

  #checkSlot(slot: number): void {
    if (this.#filledSlots.has(slot)) return;
    throw new DeviceError(`transfer: found host slot ${slot} empty, expected a block in it.`);
  }
}
