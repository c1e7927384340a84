/**
 * Messages between ranks as bytes: the length of a head as a little-endian u32, the head as JSON in UTF-8, and behind it the typed
 * arrays that it names, one after the other. Little-endian, as every machine with such a GPU is.
 */
const Arrays = { Int8Array, Uint8Array, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array };
type ArrayName = keyof typeof Arrays;

/** What stands in the head for what JSON cannot hold. */
type Stand = { readonly $array: ArrayName; readonly bytes: number } | { readonly $number: string };

export function encodeMessage(message: unknown): Uint8Array {
  const arrays: Uint8Array[] = [];
  const text = JSON.stringify(message, (_, value: unknown) => {
    if (typeof value === 'number' && !Number.isFinite(value)) return { $number: String(value) } satisfies Stand;
    if (!ArrayBuffer.isView(value)) return value;
    arrays.push(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    const name = value.constructor.name as ArrayName;
    if (!Object.hasOwn(Arrays, name)) throw new TypeError(`A message between ranks cannot hold a ${name}.`);
    return { $array: name, bytes: value.byteLength } satisfies Stand;
  });
  const head = Buffer.from(text);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(head.length);
  return Buffer.concat([length, head, ...arrays]);
}

/** Throws RangeError or SyntaxError for what `encodeMessage` has not made. Arrays are copies. */
export function decodeMessage(bytes: Uint8Array): unknown {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 4 + buffer.readUInt32LE(0);
  return JSON.parse(buffer.toString('utf8', 4, at), (_, value: unknown) => {
    if (typeof value !== 'object' || value === null) return value;
    if ('$number' in value) return Number(value.$number);
    if (!('$array' in value)) return value;
    const { $array: name, bytes: size } = value as Extract<Stand, { $array: ArrayName }>;
    if (at + size > buffer.length) throw new RangeError('A message between ranks ends before its arrays.');
    const copy = Uint8Array.prototype.slice.call(buffer, at, at + size);
    at += size;
    return new Arrays[name](copy.buffer, 0, size / Arrays[name].BYTES_PER_ELEMENT);
  });
}
