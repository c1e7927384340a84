import type { FlagGroup } from './help.ts';

/** Where a command writes and what it reads of the process, so that tests can run one without a process. */
export interface CommandIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  out(text: string): void;
  err(text: string): void;
}

/** One command of `quire`. */
export interface Command {
  readonly usage: readonly string[];
  readonly about: string;
  readonly groups: readonly FlagGroup[];
  /** Resolves with the exit code. */
  run(argv: readonly string[], io: CommandIo): Promise<number>;
}
