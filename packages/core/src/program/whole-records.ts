/**
 * The same bytes in chunks that end between records of `size` bytes, each at a multiple of 8 bytes in its buffer. A chunk is good until
 * the next is asked for.
 */
export async function* wholeRecords(
  chunks: AsyncIterable<Uint8Array>,
  size: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let rest = new Uint8Array(0);
  for await (const chunk of chunks) {
    const bytes = rest.length === 0 && isAligned(chunk) ? chunk : joined(rest, chunk);
    const whole = bytes.length - (bytes.length % size);
    // The bytes may lie in a buffer that is filled anew.
    rest = bytes.slice(whole);
    if (whole > 0) yield bytes.subarray(0, whole);
  }
}

function isAligned(chunk: Uint8Array): chunk is Uint8Array<ArrayBuffer> {
  return chunk.buffer instanceof ArrayBuffer && chunk.byteOffset % 8 === 0;
}

function joined(rest: Uint8Array, chunk: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(rest.length + chunk.length);
  bytes.set(rest);
  bytes.set(chunk, rest.length);
  return bytes;
}
