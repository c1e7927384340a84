/** Programs that the test starts: found or installed, run until they are ready, and ended with the test. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
const running = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Installs Debian packages whose program is missing. */
export function installMissing(packages) {
  const missing = Object.entries(packages).filter(([program]) => spawnSync('which', [program]).status !== 0);
  if (missing.length === 0) return;
  const names = missing.map(([, name]) => name);
  const asRoot = process.getuid() === 0 ? [] : ['sudo'];
  const apt = (...args) => {
    const [command, ...rest] = [...asRoot, 'apt-get', ...args];
    execFileSync(command, rest, { stdio: 'inherit', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
  };
  apt('update');
  apt('install', '--yes', '--no-install-recommends', ...names);
}

/** `count` ports that nobody listens on. */
export async function freePorts(count) {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer().listen(0, '127.0.0.1');
      return new Promise(resolve => server.once('listening', () => resolve(server)));
    }),
  );
  const ports = servers.map(server => server.address().port);
  await Promise.all(servers.map(server => new Promise(resolve => server.close(resolve))));
  return ports;
}

/** Starts a program. `exit` resolves with its code or signal, `output()` is what it said. */
export function start(command, args, options = {}) {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], ...options });
  running.add(child);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', chunk => {
      said = (said + chunk).slice(-20_000);
    });
  }
  const exit = new Promise(resolve => {
    child.once('exit', (code, signal) => {
      running.delete(child);
      resolve(code ?? signal);
    });
  });
  return { child, exit, output: () => said, kill: signal => child.kill(signal) };
}

/** Asks again until `test` resolves with true. A program that it depends on must not end. */
export async function until(what, test, program = null, timeoutMs = 60_000) {
  const end = Date.now() + timeoutMs;
  while (!(await test().catch(() => false))) {
    if (program !== null && program.child.exitCode !== null) throw new Error(`${what}: ended. ${program.output()}`);
    if (Date.now() > end) throw new Error(`${what}: not within ${timeoutMs / 1000} s`);
    await new Promise(resolve => setTimeout(resolve, 200));
  }
}
