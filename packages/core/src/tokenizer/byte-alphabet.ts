/** Bytes that GPT-2's vocabulary files spell as themselves. */
function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

function makeByteToChar(): string[] {
  let spare = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : spare++));
}

/**
 * The character that stands for each byte in the vocabulary of a byte-level BPE, index = byte. Bytes that are not printable
 * Latin-1 take the code points from U+0100 on, in order (`bytes_to_unicode` of GPT-2).
 */
export const byteToChar: readonly string[] = makeByteToChar();

/** The inverse of `byteToChar`. */
export const charToByte: ReadonlyMap<string, number> = new Map(byteToChar.map((char, byte) => [char, byte]));

const utf8 = new TextEncoder();

/** UTF-8 bytes of text. */
export function utf8Bytes(text: string): Uint8Array {
  return utf8.encode(text);
}

/** Text as a byte-level vocabulary spells it. */
export function toByteAlphabet(text: string): string {
  let spelling = '';
  for (const byte of utf8Bytes(text)) spelling += byteToChar[byte];
  return spelling;
}

/** The bytes of a token in byte-level spelling, or its UTF-8 bytes when it holds a character outside the alphabet. */
export function fromByteAlphabet(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = charToByte.get(token[i]!);
    if (byte === undefined) return utf8Bytes(token);
    bytes[i] = byte;
  }
  return bytes;
}
