import { type Communicator, DeviceLostError } from '../../contract/contract.ts';

/** Words of the header, and floats that a rank publishes at once. */
const Header = { arrived: 0, generation: 1, ended: 2 } as const;
const HEADER_BYTES = 64;
const SLOT_FLOATS = 1 << 15;

/** Memory through which `ranks` threads communicate: a header, then a slot of f32 for each. */
export function createSharedMemory(ranks: number): SharedArrayBuffer {
  return new SharedArrayBuffer(HEADER_BYTES + ranks * SLOT_FLOATS * Float32Array.BYTES_PER_ELEMENT);
}

/** Ends a group from outside: every call that waits, and every later one, throws DeviceLostError. */
export function endGroup(memory: SharedArrayBuffer): void {
  const header = new Int32Array(memory, 0, HEADER_BYTES / 4);
  Atomics.store(header, Header.ended, 1);
  // A waiter that looked before the store must not fall asleep after the notification.
  Atomics.add(header, Header.generation, 1);
  Atomics.notify(header, Header.generation);
}

/** Ranks that are threads of one process. Each has one of these over the same memory. A thread that waits sleeps. */
export class SharedMemoryCommunicator implements Communicator {
  readonly rank: number;
  readonly size: number;
  readonly #memory: SharedArrayBuffer;
  readonly #header: Int32Array;
  readonly #slots: readonly Float32Array[];
  readonly #sums = new Float64Array(SLOT_FLOATS);

  constructor(memory: SharedArrayBuffer, rank: number, size: number) {
    this.rank = rank;
    this.size = size;
    this.#memory = memory;
    this.#header = new Int32Array(memory, 0, HEADER_BYTES / 4);
    const slotBytes = SLOT_FLOATS * Float32Array.BYTES_PER_ELEMENT;
    this.#slots = Array.from({ length: size }, (_, i) => {
      return new Float32Array(memory, HEADER_BYTES + i * slotBytes, SLOT_FLOATS);
    });
  }

  allReduce(data: Float32Array): void {
    this.#exchange(data, (start, length) => {
      const sums = this.#sums.fill(0, 0, length);
      for (const slot of this.#slots) for (let i = 0; i < length; i++) sums[i]! += slot[i]!;
      for (let i = 0; i < length; i++) data[start + i] = sums[i]!;
    });
  }

  allGather(data: Float32Array, into: Float32Array): void {
    this.#exchange(data, (start, length) => {
      this.#slots.forEach((slot, rank) => {
        into.set(slot.subarray(0, length), rank * data.length + start);
      });
    });
  }

  barrier(): void {
    const generation = Atomics.load(this.#header, Header.generation);
    this.#checkGroup();
    if (Atomics.add(this.#header, Header.arrived, 1) === this.size - 1) {
      Atomics.store(this.#header, Header.arrived, 0);
      Atomics.add(this.#header, Header.generation, 1);
      Atomics.notify(this.#header, Header.generation);
    } else {
      while (Atomics.load(this.#header, Header.generation) === generation) {
        Atomics.wait(this.#header, Header.generation, generation);
      }
    }
    this.#checkGroup();
  }

  end(): void {
    endGroup(this.#memory);
  }

  /** Publishes `data` piece by piece; `take` reads the slots of all ranks while nobody writes to them. */
  #exchange(data: Float32Array, take: (start: number, length: number) => void): void {
    for (let start = 0; start < data.length; start += SLOT_FLOATS) {
      const piece = data.subarray(start, start + SLOT_FLOATS);
      this.#slots[this.rank]!.set(piece);
      this.barrier();
      take(start, piece.length);
      this.barrier();
    }
  }

  #checkGroup(): void {
    if (Atomics.load(this.#header, Header.ended) === 0) return;
    throw new DeviceLostError(
      'The group of devices has ended: one of its ranks failed or was disposed. Open a new one.',
    );
  }
}
