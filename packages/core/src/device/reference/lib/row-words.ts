const bits = new Uint32Array(1);
const value = new Float32Array(bits.buffer);

/** The f32 whose bits a word of the row state holds. */
export function wordToFloat(word: number): number {
  bits[0] = word;
  return value[0]!;
}
