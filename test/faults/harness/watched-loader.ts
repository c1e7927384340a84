import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build } from 'vite';
import type { Request, Verdict } from './protocol.ts';

/** A loader that hangs, on a machine that may be busy. */
const HANG_MILLISECONDS = 60_000;

/** Loads folders in a child process, which is killed when it does not answer. */
export class WatchedLoader {
  readonly #bundle: string;
  readonly #launcher: readonly string[];
  #child: ChildProcess | null = null;

  private constructor(bundle: string, launcher: readonly string[]) {
    this.#bundle = bundle;
    this.#launcher = launcher;
  }

  /** Bundles the child from sources. `launcher`: a command that runs it, such as strace. */
  static async create(launcher: readonly string[] = []): Promise<WatchedLoader> {
    const outDir = mkdtempSync(join(tmpdir(), 'quire-child-'));
    const conditions = ['quire-source', 'node', 'import', 'default'];
    await build({
      configFile: false,
      logLevel: 'silent',
      resolve: { conditions },
      ssr: { noExternal: true, resolve: { conditions } },
      build: {
        ssr: resolve('test/faults/harness/child.ts'),
        outDir,
        target: 'node20',
        minify: false,
        rolldownOptions: { output: { entryFileNames: 'child.mjs' } },
      },
    });
    return new WatchedLoader(outDir, launcher);
  }

  /** @throws when the child dies or hangs; the next load starts a new one. */
  async load(request: Request): Promise<Verdict> {
    this.#child ??= await this.#start();
    const child = this.#child;
    return new Promise((fulfil, reject) => {
      const finish = (settle: () => void) => {
        clearTimeout(watchdog);
        child.removeAllListeners('message').removeAllListeners('exit');
        settle();
      };
      const lose = (why: string) => {
        this.#child = null;
        child.kill('SIGKILL');
        finish(() => reject(new Error(`${request.folder}: the loading process ${why}`)));
      };
      const watchdog = setTimeout(() => lose(`did not answer within ${HANG_MILLISECONDS} ms`), HANG_MILLISECONDS);
      child.once('exit', (code, signal) => lose(`died (${signal ?? code})`));
      child.once('message', verdict => finish(() => fulfil(verdict as Verdict)));
      child.send(request);
    });
  }

  close(): void {
    this.#child?.kill('SIGKILL');
    rmSync(this.#bundle, { recursive: true, force: true });
  }

  async #start(): Promise<ChildProcess> {
    const [command = process.execPath, ...before] = this.#launcher;
    const options = ['--expose-gc', join(this.#bundle, 'child.mjs')];
    const child = fork(options[1]!, [], {
      execPath: command,
      execArgv: this.#launcher.length === 0 ? [options[0]!] : [...before, process.execPath, options[0]!],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    await once(child, 'message');
    return child;
  }
}
