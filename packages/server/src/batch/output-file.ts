import { type FileHandle, open } from 'node:fs/promises';
import { BatchError } from './batch-error.ts';
import { IdTable } from './id-table.ts';
import { isBlank, type Line, readLines } from './read-lines.ts';

/**
 * Appends lines to a file and knows which requests the file answers already. A line is written whole or, when the process is
 * killed, cut off: opening the file again drops such a last line.
 */
export class OutputFile {
  readonly path: string;
  /** Requests that the file answered when it was opened. */
  readonly answered: AnsweredRequests;
  readonly #file: FileHandle;
  readonly #waiting: string[] = [];
  #writing: Promise<void> | null = null;

  private constructor(path: string, file: FileHandle, answered: AnsweredRequests) {
    this.path = path;
    this.#file = file;
    this.answered = answered;
  }

  /** Throws BatchError when the file cannot be opened or holds something else than output lines. */
  static async open(path: string): Promise<OutputFile> {
    const file = await open(path, 'a+').catch((error: Error) => {
      throw new BatchError('unwritable_file', `${path} cannot be written: ${error.message}`, { cause: error });
    });
    try {
      const answered = new AnsweredRequests();
      let whole = 0;
      for await (const line of readLines(path)) {
        if (!line.whole) break;
        if (!isBlank(line)) answered.add(path, line);
        whole = line.end;
      }
      await file.truncate(whole);
      return new OutputFile(path, file, answered);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Resolves when the line is with the operating system. Lines that wait for one write go together in the next. */
  append(line: string): Promise<void> {
    this.#waiting.push(`${line}\n`);
    this.#writing ??= this.#write();
    return this.#writing;
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }

  async #write(): Promise<void> {
    try {
      while (this.#waiting.length > 0) await this.#file.appendFile(this.#waiting.splice(0).join(''));
    } catch (error) {
      const message = `${this.path} cannot be written: ${(error as Error).message}`;
      throw new BatchError('unwritable_file', message, { cause: error });
    } finally {
      this.#writing = null;
    }
  }
}

/** Requests are known by custom_id; lines that had none, by their number in the input. */
export class AnsweredRequests {
  readonly #ids = new IdTable();
  readonly #lines = new Set<number>();

  get size(): number {
    return this.#ids.size + this.#lines.size;
  }

  has(customId: string | null, line: number): boolean {
    return customId === null ? this.#lines.has(line) : this.#ids.lineOf(customId) !== null;
  }

  /** A request that was answered since the file was opened. */
  note(customId: string): void {
    this.#ids.add(customId, 1);
  }

  /** Throws BatchError when the line is no output line. */
  add(path: string, line: Line): void {
    const found = parse(line);
    const inputLine = found?.error?.line;
    if (typeof found?.custom_id === 'string' && 'response' in found) this.#ids.add(found.custom_id, line.number);
    else if (typeof inputLine === 'number') this.#lines.add(inputLine);
    else {
      const message = `${path} line ${line.number} is no output line of a batch. To go on with a batch name its output; else name a file that does not exist.`;
      throw new BatchError('foreign_output', message);
    }
  }
}

function parse({ bytes }: Line): { custom_id?: unknown; error?: { line?: unknown } | null } | null {
  try {
    return bytes === null ? null : JSON.parse(bytes.toString('utf8'));
  } catch {
    return null;
  }
}
