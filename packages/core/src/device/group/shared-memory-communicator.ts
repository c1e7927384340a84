import { type Communicator, DeviceLostError } from '../../contract/contract.ts';

/** Words of the header; the mailbox of each rank comes after them. */
const Header = { arrived: 0, generation: 1, ended: 2, mailboxes: 3 } as const;
/** States of a mailbox: empty, or 1 + the rank that is to take what lies in the slot. */
const EMPTY = 0;
const CLOSED = -1;
/** Floats that a rank publishes at once. */
const SLOT_FLOATS = 1 << 15;

function headerBytes(ranks: number): number {
  return Math.ceil((Header.mailboxes + ranks) / 16) * 64;
}

/** Memory through which `ranks` threads communicate: a header, then a slot of f32 for each. */
export function createSharedMemory(ranks: number): SharedArrayBuffer {
  return new SharedArrayBuffer(headerBytes(ranks) + ranks * SLOT_FLOATS * Float32Array.BYTES_PER_ELEMENT);
}

/** Ends a group from outside: every call that waits, and every later one, throws DeviceLostError. */
export function endGroup(memory: SharedArrayBuffer): void {
  const ranks = Math.floor(memory.byteLength / (SLOT_FLOATS * Float32Array.BYTES_PER_ELEMENT));
  const header = new Int32Array(memory, 0, headerBytes(ranks) / 4);
  Atomics.store(header, Header.ended, 1);
  // A waiter that looked before the store must not fall asleep after the notification: the words it waits on change.
  Atomics.add(header, Header.generation, 1);
  Atomics.notify(header, Header.generation);
  for (let rank = 0; rank < ranks; rank++) {
    Atomics.store(header, Header.mailboxes + rank, CLOSED);
    Atomics.notify(header, Header.mailboxes + rank);
  }
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
    this.#header = new Int32Array(memory, 0, headerBytes(size) / 4);
    const slotBytes = SLOT_FLOATS * Float32Array.BYTES_PER_ELEMENT;
    this.#slots = Array.from({ length: size }, (_, i) => {
      return new Float32Array(memory, headerBytes(size) + i * slotBytes, SLOT_FLOATS);
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

  broadcast(data: Uint32Array, from: number): void {
    const slot = this.#slots[from]!;
    const words = new Uint32Array(slot.buffer, slot.byteOffset, slot.length);
    for (let start = 0; start < data.length; start += SLOT_FLOATS) {
      const piece = data.subarray(start, start + SLOT_FLOATS);
      if (from === this.rank) words.set(piece);
      this.#barrier();
      if (from !== this.rank) piece.set(words.subarray(0, piece.length));
      this.#barrier();
    }
  }

  send(data: Float32Array, to: number): void {
    for (let start = 0; start < data.length; start += SLOT_FLOATS) {
      this.#slots[this.rank]!.set(data.subarray(start, start + SLOT_FLOATS));
      this.#setMailbox(this.rank, 1 + to);
      this.#awaitMailbox(this.rank, EMPTY);
    }
  }

  recv(into: Float32Array, from: number): void {
    for (let start = 0; start < into.length; start += SLOT_FLOATS) {
      this.#awaitMailbox(from, 1 + this.rank);
      const piece = into.subarray(start, start + SLOT_FLOATS);
      piece.set(this.#slots[from]!.subarray(0, piece.length));
      this.#setMailbox(from, EMPTY);
    }
  }

  end(): void {
    endGroup(this.#memory);
  }

  /** Returns when all ranks have come here. */
  #barrier(): void {
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

  /** Publishes `data` piece by piece; `take` reads the slots of all ranks while nobody writes to them. */
  #exchange(data: Float32Array, take: (start: number, length: number) => void): void {
    for (let start = 0; start < data.length; start += SLOT_FLOATS) {
      const piece = data.subarray(start, start + SLOT_FLOATS);
      this.#slots[this.rank]!.set(piece);
      this.#barrier();
      take(start, piece.length);
      this.#barrier();
    }
  }

  #setMailbox(rank: number, state: number): void {
    Atomics.store(this.#header, Header.mailboxes + rank, state);
    Atomics.notify(this.#header, Header.mailboxes + rank);
    this.#checkGroup();
  }

  #awaitMailbox(rank: number, wanted: number): void {
    const word = Header.mailboxes + rank;
    for (let state = Atomics.load(this.#header, word); state !== wanted; state = Atomics.load(this.#header, word)) {
      this.#checkGroup();
      Atomics.wait(this.#header, word, state);
    }
    this.#checkGroup();
  }

  #checkGroup(): void {
    if (Atomics.load(this.#header, Header.ended) === 0) return;
    throw new DeviceLostError(
      'The group of devices has ended: one of its ranks failed or was disposed. Open a new one.',
    );
  }
}
