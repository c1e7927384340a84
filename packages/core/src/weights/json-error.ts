/** Why text is not acceptable JSON. */
export type JsonFault = 'syntax' | 'utf8' | 'duplicate' | 'limit';

/** Thrown by the scanner; readers of a file turn it into a ModelFormatError with that file's code. */
export class JsonScanError extends Error {
  override readonly name = 'JsonScanError';
  readonly fault: JsonFault;
  /** Byte offset from the first byte that was pushed. */
  readonly offset: number;
  readonly found: string;
  readonly expected: string;
  constructor(fault: JsonFault, offset: number, found: string, expected: string) {
    super(`byte ${offset}: found ${found}, expected ${expected}`);
    this.fault = fault;
    this.offset = offset;
    this.found = found;
    this.expected = expected;
  }
}
