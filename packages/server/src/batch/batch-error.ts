import { QuireError } from '@quire/core';

/** A batch that cannot be run as it is given: its message names the file and, where there is one, the line. */
export class BatchError extends QuireError {
  override readonly name = 'BatchError';
}

/** What is wrong with one line, in the words of an output line. */
export interface LineError {
  readonly code: string;
  readonly message: string;
  /** The field at fault. */
  readonly param: string | null;
  /** 1-based, in the input file. */
  readonly line: number | null;
}
