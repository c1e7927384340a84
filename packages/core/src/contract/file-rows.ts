/** Weights that a device reads from files itself. */

/** Rows of an open file: of each, `bytes` from its byte `from` on. All numbers are bytes but `rows`. */
export interface FileRows {
  readonly descriptor: number;
  /** For messages. */
  readonly file: string;
  readonly start: number;
  readonly rows: number;
  /** From row to row in the file. */
  readonly rowBytes: number;
  readonly from: number;
  readonly bytes: number;
  /** In the tensor, and from row to row there; what lies between becomes 0. */
  readonly offset: number;
  readonly stride: number;
}

/** Bytes of a file could not be read. `reason` is empty where the file ends before them. */
export class FileReadError extends Error {
  override readonly name = 'FileReadError';
  readonly rows: FileRows;
  readonly offset: number;
  readonly reason: string;
  constructor(rows: FileRows, offset: number, reason: string) {
    super(`${rows.file} cannot be read at byte ${offset}: ${reason || 'the file ends there'}`);
    this.rows = rows;
    this.offset = offset;
    this.reason = reason;
  }
}
