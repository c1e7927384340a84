/** `quire serve` as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { root } from './build.ts';

export interface Served {
  child: ChildProcess;
  port: number;
  output(): string;
  exit: Promise<{ code: number | null; signal: string | null }>;
}

const started: ChildProcess[] = [];

/** Ends what was started: after each test. */
export function endAll(): void {
  for (const child of started.splice(0)) child.kill('SIGKILL');
}

/** `quire serve` on tiny-llama. Rejects when it ends before it serves. */
export async function serve(...flags: string[]): Promise<Served> {
  const argv = ['serve', 'models/tiny-llama', '--device', 'reference', '--port', '0', ...flags];
  const child = spawn(process.execPath, ['packages/server/dist/cli/main.js', ...argv], { cwd: root });
  started.push(child);
  let text = '';
  const exit = new Promise<{ code: number | null; signal: string | null }>(resolve => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  const port = await new Promise<number>((resolve, reject) => {
    const listen = (chunk: Buffer) => {
      text += String(chunk);
      const match = /Serving .* on http:\/\/127\.0\.0\.1:(\d+)/.exec(text);
      if (match) resolve(Number(match[1]));
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    void exit.then(({ code }) => reject(new Error(`ended with ${code}: ${text}`)));
  });
  return { child, port, output: () => text, exit };
}
