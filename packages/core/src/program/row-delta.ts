import { DELTA_HEADER_WORDS, DELTA_SEGMENT_WORDS, type DeltaTarget } from '../contract/contract.ts';

/** A value of `DeltaTarget`. */
export type DeltaTargetId = (typeof DeltaTarget)[keyof typeof DeltaTarget];

/**
 * Collects what the host changed in the row state since the last step and packs it into the u32 tensor that applyRowDelta
 * reads. Buffers are kept between steps, so that a step in the steady state allocates nothing.
 */
export class RowDelta {
  #segments = new Uint32Array(64 * DELTA_SEGMENT_WORDS);
  #payload = new Uint32Array(1024);
  #packed = new Uint32Array(2048);
  #count = 0;
  #payloadWords = 0;

  /** Segments added since `clear`: the step's `deltaSegments`. */
  get segments(): number {
    return this.#count;
  }

  /** Words that `pack` returns. */
  get words(): number {
    return DELTA_HEADER_WORDS + this.#count * DELTA_SEGMENT_WORDS + this.#payloadWords;
  }

  /** Copies `data` to be written at word `destOffset` of the target. Segments of one delta must not overlap there. */
  add(target: DeltaTargetId, destOffset: number, data: Uint32Array): void {
    if (data.length === 0) return;
    const at = this.#count * DELTA_SEGMENT_WORDS;
    this.#segments = grown(this.#segments, at + DELTA_SEGMENT_WORDS);
    this.#payload = grown(this.#payload, this.#payloadWords + data.length);
    this.#segments[at] = target;
    this.#segments[at + 1] = destOffset;
    this.#segments[at + 2] = this.#payloadWords;
    this.#segments[at + 3] = data.length;
    // Most segments are a word or two, which a call of set costs more than.
    if (data.length > 8) this.#payload.set(data, this.#payloadWords);
    else for (let i = 0; i < data.length; i++) this.#payload[this.#payloadWords + i] = data[i]!;
    this.#payloadWords += data.length;
    this.#count++;
  }

  clear(): void {
    this.#count = 0;
    this.#payloadWords = 0;
  }

  /** The packed delta; valid until the next call of `pack`. */
  pack(): Uint32Array {
    const tableWords = this.#count * DELTA_SEGMENT_WORDS;
    const payloadStart = DELTA_HEADER_WORDS + tableWords;
    this.#packed = grown(this.#packed, this.words);
    this.#packed.fill(0, 0, DELTA_HEADER_WORDS);
    this.#packed[0] = this.#count;
    this.#packed.set(this.#segments.subarray(0, tableWords), DELTA_HEADER_WORDS);
    for (let i = 0; i < this.#count; i++) {
      const source = DELTA_HEADER_WORDS + i * DELTA_SEGMENT_WORDS + 2;
      this.#packed[source] = this.#packed[source]! + payloadStart;
    }
    this.#packed.set(this.#payload.subarray(0, this.#payloadWords), payloadStart);
    return this.#packed.subarray(0, this.words);
  }
}

function grown(array: Uint32Array<ArrayBuffer>, length: number): Uint32Array<ArrayBuffer> {
  if (array.length >= length) return array;
  const larger = new Uint32Array(Math.max(length, array.length * 2));
  larger.set(array);
  return larger;
}
