import type { AdapterLoad } from '../worker/types.ts';
import type { Adapter } from './adapters.ts';

/** Of nearly every step, so that it allocates nothing. */
const NO_LOADS: readonly AdapterLoad[] = [];

interface Slot {
  adapter: Adapter | null;
  /** Running requests that compute with it. */
  users: number;
  /** When it was last taken. */
  lastUse: number;
}

/**
 * The room for adapters on the device. A slot stays with its adapter as long as a running request uses it, so no step has more
 * adapters than slots; after that it keeps it until another one needs the room, the least recently used going first.
 */
export class AdapterSlots {
  readonly #slots: readonly Slot[];
  /** By slot: what the next step must bring. */
  readonly #loads = new Map<number, AdapterLoad>();
  #clock = 0;

  constructor(count: number) {
    this.#slots = Array.from({ length: count }, () => ({ adapter: null, users: 0, lastUse: 0 }));
  }

  /** Whether an adapter has a slot, or could take one now. */
  hasRoomFor(adapter: Adapter): boolean {
    return this.#slots.some(slot => slot.adapter === adapter || slot.users === 0);
  }

  /** The slot of an adapter for one more request. Only where `hasRoomFor` it. */
  take(adapter: Adapter): number {
    const index = this.#find(adapter);
    const slot = this.#slots[index]!;
    if (slot.adapter !== adapter) {
      slot.adapter = adapter;
      this.#loads.set(index, { slot: index, weights: adapter.weights });
    }
    slot.users++;
    slot.lastUse = ++this.#clock;
    return index;
  }

  /** A request that took a slot runs no more. */
  release(index: number): void {
    this.#slots[index]!.users--;
  }

  /** What the device must be told before the next step. */
  takeLoads(): readonly AdapterLoad[] {
    if (this.#loads.size === 0) return NO_LOADS;
    const loads = [...this.#loads.values()];
    this.#loads.clear();
    return loads;
  }

  #find(adapter: Adapter): number {
    let found = -1;
    for (const [index, slot] of this.#slots.entries()) {
      if (slot.adapter === adapter) return index;
      if (slot.users === 0 && (found < 0 || slot.lastUse < this.#slots[found]!.lastUse)) found = index;
    }
    if (found < 0) throw new Error('AdapterSlots: an adapter was given to a request without room for it.');
    return found;
  }
}
