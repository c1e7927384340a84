/** Little-endian u64. */
export function u64(value: number | bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

export function concat(...parts: readonly (Uint8Array | string | readonly number[])[]): Uint8Array {
  return new Uint8Array(
    Buffer.concat(parts.map(part => (typeof part === 'string' ? Buffer.from(part) : Uint8Array.from(part)))),
  );
}

/** A safetensors file of a header, as text, bytes or JSON value, and `data` bytes (a number: so many zeros). */
export function safetensors(header: unknown, data: number | Uint8Array = 0): Uint8Array {
  const bytes =
    header instanceof Uint8Array ? header : Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  return concat(u64(bytes.length), bytes, typeof data === 'number' ? new Uint8Array(data) : data);
}

/** An entry of a header: f32 unless told otherwise. */
export function entry(shape: unknown, dataOffsets: unknown, dtype: unknown = 'F32'): Record<string, unknown> {
  return { dtype, shape, data_offsets: dataOffsets };
}
