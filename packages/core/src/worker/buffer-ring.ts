/**
 * Words for steps in flight, handed out in turn, so that steady decode allocates nothing: memory is used again after `size`
 * others have been handed out. Contents are what the last user left.
 */
export class BufferRing {
  readonly #buffers: ArrayBuffer[];
  #next = 0;

  constructor(size: number) {
    this.#buffers = Array.from({ length: size }, () => new ArrayBuffer(0));
  }

  u32(length: number): Uint32Array<ArrayBuffer> {
    return new Uint32Array(this.#take(4 * length), 0, length);
  }

  i32(length: number): Int32Array<ArrayBuffer> {
    return new Int32Array(this.#take(4 * length), 0, length);
  }

  #take(bytes: number): ArrayBuffer {
    const at = this.#next;
    this.#next = (at + 1) % this.#buffers.length;
    if (this.#buffers[at]!.byteLength < bytes) this.#buffers[at] = new ArrayBuffer(2 * bytes);
    return this.#buffers[at]!;
  }
}
