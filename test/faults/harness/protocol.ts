/** Asks the child to load a folder, from disk or from memory. */
export interface Request {
  folder: string;
  source: 'folder' | 'memory';
}

/** What came of it. `error` is null when the folder was accepted. */
export interface Verdict {
  error: string | null;
  code: string | null;
  message: string;
  /** Of processor time, since the clock also counts what else this machine does. */
  milliseconds: number;
  /** Peak resident memory above that before the load. */
  extraBytes: number;
  /** Paths opened during the load. */
  opened: string[];
}
