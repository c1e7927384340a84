import { QuireError } from '@quire/core';

/** Both ends are of one installation; the version guards against files of another one under the same path. */
export const PROTOCOL_VERSION = 1;
export const MAX_FRAME_BYTES = 256 * 2 ** 20;
const HEADER_BYTES = 12;

/** What a frame is about. Up to 15: from the front end to the engine; above: from the engine. */
export const FrameKind = {
  boot: 1,
  add: 2,
  abort: 3,
  call: 4,
  stage: 16,
  ready: 17,
  refused: 18,
  step: 19,
  failure: 20,
  result: 21,
  heartbeat: 22,
  loading: 23,
  trace: 24,
  over: 25,
} as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];
const kinds: ReadonlySet<number> = new Set(Object.values(FrameKind));

/** A header of JSON (null: none) and a body of 32-bit words. Nothing else crosses: no code, no objects with behaviour. */
export interface Frame {
  readonly kind: FrameKind;
  readonly head: unknown;
  readonly words: Uint32Array;
}

/** The other end sent what is no frame of this protocol. */
export class FrameError extends QuireError {
  override readonly name = 'FrameError';
  constructor(message: string) {
    super('bad_frame', message);
  }
}

const noWords = new Uint32Array(0);

/**
 * `u32 payload bytes, u8 version, u8 kind, u16 zero, u32 head bytes`, then the payload: the head in UTF-8, padded to four bytes, and
 * the words, in the byte order of the machine. Throws FrameError when that is more than a frame may hold.
 */
export function encodeFrame(kind: FrameKind, head: unknown, words: Uint32Array = noWords): Buffer {
  const text = head === null ? '' : JSON.stringify(head);
  const headBytes = Buffer.byteLength(text);
  const payload = padded(headBytes) + words.byteLength;
  if (payload > MAX_FRAME_BYTES) throw tooLong(payload);
  const frame = Buffer.alloc(HEADER_BYTES + payload);
  frame.writeUInt32LE(payload, 0);
  frame[4] = PROTOCOL_VERSION;
  frame[5] = kind;
  frame.writeUInt32LE(headBytes, 8);
  frame.write(text, HEADER_BYTES, 'utf8');
  Buffer.from(words.buffer, words.byteOffset, words.byteLength).copy(frame, HEADER_BYTES + padded(headBytes));
  return frame;
}

/** Puts frames together from the pieces in which a stream brings them. */
export class FrameReader {
  #pieces: Buffer[] = [];
  #length = 0;
  #needed = HEADER_BYTES;

  /** The frames that the piece completes. Throws FrameError; the stream is of no use then. */
  push(piece: Buffer): Frame[] {
    this.#pieces.push(piece);
    this.#length += piece.length;
    const frames: Frame[] = [];
    while (this.#length >= this.#needed) {
      const bytes = this.#pieces.length === 1 ? this.#pieces[0]! : Buffer.concat(this.#pieces);
      const size = HEADER_BYTES + payloadBytes(bytes);
      if (bytes.length >= size) frames.push(decodeFrame(bytes.subarray(0, size)));
      const rest = bytes.length >= size ? bytes.subarray(size) : bytes;
      this.#needed = bytes.length >= size ? HEADER_BYTES : size;
      this.#pieces = rest.length === 0 ? [] : [rest];
      this.#length = rest.length;
    }
    return frames;
  }
}

/** Checks a header before anything of its size is waited for. */
function payloadBytes(bytes: Buffer): number {
  const [version, kind] = [bytes[4]!, bytes[5]!];
  if (version !== PROTOCOL_VERSION) {
    throw new FrameError(`A frame is of version ${version} of the protocol, expected ${PROTOCOL_VERSION}.`);
  }
  if (!kinds.has(kind)) throw new FrameError(`A frame is of kind ${kind}, which there is not.`);
  if (bytes.readUInt16LE(6) !== 0) throw new FrameError('A frame has reserved bytes that are not zero.');
  const payload = bytes.readUInt32LE(0);
  if (payload > MAX_FRAME_BYTES) throw tooLong(payload);
  const body = payload - padded(bytes.readUInt32LE(8));
  if (body < 0 || body % 4 !== 0) {
    throw new FrameError(
      `A frame of ${payload} bytes has a head of ${bytes.readUInt32LE(8)}: what is left is no list of words.`,
    );
  }
  return payload;
}

function decodeFrame(frame: Buffer): Frame {
  const headBytes = frame.readUInt32LE(8);
  const body = frame.subarray(HEADER_BYTES + padded(headBytes));
  return { kind: frame[5] as FrameKind, head: parseHead(frame, headBytes), words: copyWords(body) };
}

function parseHead(frame: Buffer, headBytes: number): unknown {
  if (headBytes === 0) return null;
  try {
    return JSON.parse(frame.toString('utf8', HEADER_BYTES, HEADER_BYTES + headBytes));
  } catch (error) {
    throw new FrameError(`The head of a frame is no JSON: ${(error as Error).message}.`);
  }
}

/** A copy is aligned, and outlives the piece that it came in. */
function copyWords(bytes: Buffer): Uint32Array {
  if (bytes.length === 0) return noWords;
  const words = new Uint32Array(bytes.length / 4);
  new Uint8Array(words.buffer).set(bytes);
  return words;
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

function tooLong(bytes: number): FrameError {
  return new FrameError(`A frame has ${bytes} bytes, more than the ${MAX_FRAME_BYTES} that one may have.`);
}
