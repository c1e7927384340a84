/** `quire` in several processes, as torchrun starts them: one per rank. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { root } from '../server/build.ts';

export interface RankProcess {
  readonly child: ChildProcess;
  /** What it printed so far: answers, and all else. */
  out(): string;
  log(): string;
  /** Resolves when it has printed something like this. Rejects when it ends before. */
  said(text: RegExp): Promise<RegExpExecArray>;
  readonly exit: Promise<{ code: number | null; signal: string | null }>;
}

const started: ChildProcess[] = [];

/** Ends what was started: after each test. */
export function endRanks(): void {
  for (const child of started.splice(0)) child.kill('SIGKILL');
}

export interface RankOptions {
  readonly size?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts `quire ARGV` as one rank of a group whose rank 0 listens on `port` of this machine. */
export function startRank(rank: number, port: number, argv: readonly string[], options: RankOptions = {}): RankProcess {
  const { size = 2, env = {} } = options;
  const place = { RANK: rank, WORLD_SIZE: size, LOCAL_RANK: rank, MASTER_ADDR: '127.0.0.1', MASTER_PORT: port };
  const variables = Object.fromEntries(Object.entries(place).map(([name, value]) => [name, String(value)]));
  const child = spawn(process.execPath, ['packages/server/dist/cli/main.js', ...argv], {
    cwd: root,
    env: { ...process.env, NODE_OPTIONS: '', ...variables, ...env },
  });
  started.push(child);
  const printed = { out: '', log: '' };
  const listeners = new Set<() => void>();
  const gather = (stream: 'out' | 'log') => (chunk: Buffer) => {
    printed[stream] += String(chunk);
    for (const listener of listeners) listener();
  };
  child.stdout.on('data', gather('out'));
  child.stderr.on('data', gather('log'));
  const exit = new Promise<{ code: number | null; signal: string | null }>(resolve => {
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  const said = (text: RegExp) =>
    new Promise<RegExpExecArray>((resolve, reject) => {
      const look = () => {
        const match = text.exec(printed.out + printed.log);
        if (match) resolve(match);
      };
      listeners.add(look);
      look();
      void exit.then(({ code }) => reject(new Error(`rank ${rank} ended with ${code}: ${printed.out}${printed.log}`)));
    });
  return { child, out: () => printed.out, log: () => printed.log, said, exit };
}

/** Below the ports that systems give out by themselves, to clients and to who asks for any; from elsewhere in each process. */
let nextPort = 10_000 + ((process.pid * 37) % 20_000);

/** A port on which nobody listens, and that nobody gets who does not name it. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = nextPort++;
    const isFree = await new Promise<boolean>(resolve => {
      const server = createServer()
        .once('error', () => resolve(false))
        .listen(port, () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}
