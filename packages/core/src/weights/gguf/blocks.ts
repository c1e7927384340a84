/** The types of tensors that are read, and what their blocks hold (ggml-quants.c). All numbers are little-endian. */
export const ggufTypes = {
  F32: { number: 0, elements: 1, bytes: 4 },
  F16: { number: 1, elements: 1, bytes: 2 },
  BF16: { number: 30, elements: 1, bytes: 2 },
  Q4_0: { number: 2, elements: 32, bytes: 18 },
  Q8_0: { number: 8, elements: 32, bytes: 34 },
  Q4_K: { number: 12, elements: 256, bytes: 144 },
  Q6_K: { number: 14, elements: 256, bytes: 210 },
} as const;
export type GgufType = keyof typeof ggufTypes;

/** Types whose elements are floats as they lie there. */
export const floatTypes = { F32: 'f32', F16: 'f16', BF16: 'bf16' } as const;
export type FloatType = keyof typeof floatTypes;
export type BlockType = Exclude<GgufType, FloatType>;

export function isFloatType(type: GgufType): type is FloatType {
  return Object.hasOwn(floatTypes, type);
}

export function typeOf(number: number): GgufType | null {
  return (Object.keys(ggufTypes) as GgufType[]).find(name => ggufTypes[name].number === number) ?? null;
}

/** The values of whole blocks in f32, in which every product of a code and its scale is rounded once at most. */
export function blockValues(type: BlockType, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const { elements, bytes: size } = ggufTypes[type];
  const values = new Float32Array((bytes.length / size) * elements);
  const decode = decoders[type];
  for (let block = 0; block * size < bytes.length; block++) {
    decode(bytes, block * size, values.subarray(block * elements, (block + 1) * elements));
  }
  return values;
}

type Decoder = (bytes: Uint8Array, at: number, into: Float32Array) => void;

const decoders: Readonly<Record<BlockType, Decoder>> = {
  /** A scale, then 16 bytes: codes of elements 0 .. 15 in the low halves, of 16 .. 31 in the high ones. */
  Q4_0(bytes, at, into) {
    const scale = half(bytes, at);
    for (let i = 0; i < 16; i++) {
      const codes = bytes[at + 2 + i]!;
      into[i] = scale * ((codes & 15) - 8);
      into[i + 16] = scale * ((codes >> 4) - 8);
    }
  },
  /** A scale, then 32 int8. */
  Q8_0(bytes, at, into) {
    const scale = half(bytes, at);
    for (let i = 0; i < 32; i++) into[i] = scale * signed(bytes[at + 2 + i]!);
  },
  /** Scales of scales and of minima; 8 of either in 6 bits; 4-bit codes, those of 32 neighbours in the halves of 32 bytes. */
  Q4_K(bytes, at, into) {
    const [scale, least] = [half(bytes, at), half(bytes, at + 2)];
    for (let group = 0; group < 8; group++) {
      const [factor, minimum] = sixBits(bytes, at + 4, group);
      const codes = at + 16 + 32 * (group >> 1);
      const shift = 4 * (group & 1);
      for (let i = 0; i < 32; i++) {
        const code = (bytes[codes + i]! >> shift) & 15;
        into[32 * group + i] = Math.fround(scale * factor) * code - Math.fround(least * minimum);
      }
    }
  },
  /** 6-bit codes, four bits in the first 128 bytes and two in the next 64; int8 scales of 16 neighbours; their scale. */
  Q6_K(bytes, at, into) {
    const scale = half(bytes, at + 208);
    for (let i = 0; i < 256; i++) {
      const [part, within] = [i >> 7, i & 127];
      const [quarter, place] = [within >> 5, within & 31];
      const low = bytes[at + 64 * part + place + 32 * (quarter & 1)]! >> (4 * (quarter >> 1));
      const high = bytes[at + 128 + 32 * part + place]! >> (2 * quarter);
      const code = ((low & 15) | ((high & 3) << 4)) - 32;
      into[i] = Math.fround(scale * signed(bytes[at + 192 + (i >> 4)]!)) * code;
    }
  },
};

/** The scale and the minimum of group 0 .. 7, of 12 bytes. */
function sixBits(bytes: Uint8Array, at: number, group: number): [scale: number, minimum: number] {
  const byte = (i: number) => bytes[at + i]!;
  if (group < 4) return [byte(group) & 63, byte(group + 4) & 63];
  const low = byte(group + 4);
  return [(low & 15) | ((byte(group - 4) >> 6) << 4), (low >> 4) | ((byte(group) >> 6) << 4)];
}

function signed(byte: number): number {
  return (byte << 24) >> 24;
}

function half(bytes: Uint8Array, at: number): number {
  const bits = bytes[at]! | (bytes[at + 1]! << 8);
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size =
    exponent === 0
      ? fraction * 2 ** -24
      : exponent === 31
        ? halfSpecial(fraction)
        : (1024 + fraction) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -size : size;
}

function halfSpecial(fraction: number): number {
  return fraction === 0 ? Infinity : Number.NaN;
}

/**
 * Q4_0 rows as records of q4_32 (contract/dtypes.ts), which hold the same codes and scales: nothing is rounded. `columns` is a multiple
 * of 32.
 */
export function q4Records(bytes: Uint8Array, columns: number): Uint8Array {
  const groups = columns / 32;
  const codeBytes = Math.ceil(columns / 2 / 16) * 16;
  const recordBytes = Math.ceil((codeBytes + 2 * groups) / 32) * 32;
  const rows = bytes.length / (18 * groups);
  const records = new Uint8Array(rows * recordBytes);
  const words = new Uint32Array(records.buffer);
  for (let row = 0; row < rows; row++) {
    for (let group = 0; group < groups; group++) {
      const from = (row * groups + group) * 18;
      const scale = row * recordBytes + codeBytes + 2 * group;
      records.set(bytes.subarray(from, from + 2), scale);
      const word = (row * recordBytes) / 4 + 4 * group;
      for (let i = 0; i < 32; i++) {
        const code = (bytes[from + 2 + (i & 15)]! >> (i < 16 ? 0 : 4)) & 15;
        words[word + (i >> 3)]! |= code << (16 * (i & 1) + 2 * (i & 6));
      }
    }
  }
  return records;
}
