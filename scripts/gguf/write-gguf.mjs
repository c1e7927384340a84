/** Writes GGUF files (ggml's docs/gguf.md, version 3): for tests, and for peers that read nothing else. */

const ALIGNMENT = 32;
const valueTypes = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 };
const tensorTypes = { F32: 0, F16: 1, BF16: 30, Q4_0: 2, Q8_0: 8, Q4_K: 12, Q6_K: 14 };

/**
 * The bytes of a file. `metadata`: [type, value] by key, type one of u32, i32, f32, bool, string, or `[elementType]` for an array.
 * `tensors`: name, row-major shape, type and bytes of each, in order.
 */
export function writeGguf(metadata, tensors) {
  const out = new Writer();
  out.bytes(Buffer.from('GGUF')).u32(3).u64(tensors.length).u64(Object.keys(metadata).length);
  for (const [key, [type, value]] of Object.entries(metadata)) {
    out.string(key);
    if (!Array.isArray(type)) out.u32(valueTypes[type]).value(type, value);
    else {
      const [element] = type;
      out.u32(valueTypes.array).u32(valueTypes[element]).u64(value.length);
      for (const entry of value) out.value(element, entry);
    }
  }
  let offset = 0;
  for (const { name, shape, type, data } of tensors) {
    out.string(name).u32(shape.length);
    for (const size of shape.toReversed?.() ?? [...shape].reverse()) out.u64(size);
    out.u32(tensorTypes[type]).u64(offset);
    offset = aligned(offset + data.byteLength);
  }
  out.align();
  for (const { data } of tensors) out.bytes(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)).align();
  return out.take();
}

function aligned(size) {
  return Math.ceil(size / ALIGNMENT) * ALIGNMENT;
}

class Writer {
  #parts = [];
  #length = 0;

  bytes(part) {
    this.#parts.push(part);
    this.#length += part.byteLength;
    return this;
  }
  u32(value) {
    const part = Buffer.alloc(4);
    part.writeUInt32LE(value >>> 0);
    return this.bytes(part);
  }
  u64(value) {
    const part = Buffer.alloc(8);
    part.writeBigUInt64LE(BigInt(value));
    return this.bytes(part);
  }
  string(value) {
    const part = Buffer.from(value);
    return this.u64(part.length).bytes(part);
  }
  value(type, value) {
    if (type === 'string') return this.string(value);
    if (type === 'bool') return this.bytes(Uint8Array.of(Number(value)));
    if (type !== 'f32') return this.u32(value);
    const part = Buffer.alloc(4);
    part.writeFloatLE(value);
    return this.bytes(part);
  }
  align() {
    return this.bytes(new Uint8Array(aligned(this.#length) - this.#length));
  }
  take() {
    return new Uint8Array(Buffer.concat(this.#parts, this.#length));
  }
}

// ---------------------------------------------------------------------------------------------------------------- quantisation

/** f32 values in blocks of 32: the value of largest magnitude becomes code 0 of 16. */
export function quantizeQ4_0(values) {
  return blocks(values, 32, 18, (block, bytes) => {
    const largest = block.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
    const scale = putHalf(bytes, 0, largest / -8);
    const codes = [...block].map(value => Math.min(15, scale === 0 ? 8 : Math.floor(value / scale + 8.5)));
    for (let i = 0; i < 16; i++) bytes[2 + i] = Math.max(codes[i], 0) | (Math.max(codes[i + 16], 0) << 4);
  });
}

/** f32 values in blocks of 32 int8. */
export function quantizeQ8_0(values) {
  return blocks(values, 32, 34, (block, bytes) => {
    const largest = block.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    const scale = putHalf(bytes, 0, largest / 127);
    block.forEach((value, i) => {
      bytes[2 + i] = scale === 0 ? 0 : Math.max(-127, Math.min(127, Math.round(value / scale)));
    });
  });
}

/** f32 values in blocks of 256: eight groups with a scale and a minimum of 6 bits each. */
export function quantizeQ4_K(values) {
  return blocks(values, 256, 144, (block, bytes) => {
    const groups = Array.from({ length: 8 }, (_, g) => block.subarray(32 * g, 32 * g + 32));
    const leasts = groups.map(group => Math.max(0, -Math.min(...group)));
    const scales = groups.map((group, g) => (Math.max(...group) + leasts[g]) / 15);
    const scale = putHalf(bytes, 0, Math.max(...scales) / 63);
    const least = putHalf(bytes, 2, Math.max(...leasts) / 63);
    const factors = scales.map(value => sixBits(value, scale));
    const minima = leasts.map(value => sixBits(value, least));
    for (let g = 0; g < 4; g++) {
      bytes[4 + g] = factors[g] | ((factors[g + 4] >> 4) << 6);
      bytes[8 + g] = minima[g] | ((minima[g + 4] >> 4) << 6);
      bytes[12 + g] = (factors[g + 4] & 15) | ((minima[g + 4] & 15) << 4);
    }
    groups.forEach((group, g) => {
      group.forEach((value, i) => {
        const step = scale * factors[g];
        const code = step === 0 ? 0 : Math.round((value + least * minima[g]) / step);
        bytes[16 + 32 * (g >> 1) + i] |= Math.max(0, Math.min(15, code)) << (4 * (g & 1));
      });
    });
  });
}

/** f32 values in blocks of 256: sixteen groups with a scale of 8 bits each, codes of 6 bits. */
export function quantizeQ6_K(values) {
  return blocks(values, 256, 210, (block, bytes) => {
    const groups = Array.from({ length: 16 }, (_, g) => block.subarray(16 * g, 16 * g + 16));
    const scales = groups.map(group => Math.max(...[...group].map(Math.abs)) / 31);
    const scale = putHalf(bytes, 208, Math.max(...scales) / 127);
    const factors = scales.map(value => (scale === 0 ? 0 : Math.min(127, Math.ceil(value / scale))));
    for (let g = 0; g < 16; g++) bytes[192 + g] = factors[g];
    block.forEach((value, i) => {
      const step = scale * factors[i >> 4];
      const code = Math.max(0, Math.min(63, (step === 0 ? 0 : Math.round(value / step)) + 32));
      const [part, quarter, place] = [i >> 7, (i & 127) >> 5, i & 31];
      bytes[64 * part + place + 32 * (quarter & 1)] |= (code & 15) << (4 * (quarter >> 1));
      bytes[128 + 32 * part + place] |= (code >> 4) << (2 * quarter);
    });
  });
}

function sixBits(value, unit) {
  return unit === 0 ? 0 : Math.max(0, Math.min(63, Math.round(value / unit)));
}

function blocks(values, elements, size, encode) {
  const bytes = new Uint8Array((values.length / elements) * size);
  for (let block = 0; block * elements < values.length; block++) {
    encode(values.subarray(block * elements, (block + 1) * elements), bytes.subarray(block * size, (block + 1) * size));
  }
  return bytes;
}

/** Writes a value rounded to f16, and returns what was written. */
function putHalf(bytes, at, value) {
  const bits = toHalf(value);
  bytes[at] = bits & 255;
  bytes[at + 1] = bits >> 8;
  return fromHalf(bits);
}

const words = new DataView(new ArrayBuffer(4));

/** Rounds to nearest, ties to even; below the smallest normal number to multiples of 2^-24. */
export function toHalf(value) {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (!(size < 65520)) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | even(size * 2 ** 24);
  const exponent = Math.floor(Math.log2(size));
  const power = 2 ** exponent > size ? exponent - 1 : exponent;
  return sign | (((power + 15) << 10) + even((size / 2 ** power - 1) * 1024));
}

function even(value) {
  const low = Math.floor(value);
  const above = value - low;
  return above > 0.5 || (above === 0.5 && low % 2 === 1) ? low + 1 : low;
}

export function fromHalf(bits) {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -size : size;
}

export function fromBfloat16(bits) {
  words.setUint32(0, bits << 16);
  return words.getFloat32(0);
}
