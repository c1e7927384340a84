/** Engines on tiny-llama and the reference device, each a process. */
import { start, until } from './processes.mjs';

/** Room for the prefixes of a third of the sessions of this test, and not for those of all. */
const FLAGS = [
  '--device',
  'reference',
  '--num-gpu-blocks-override',
  '80',
  '--max-model-len',
  '256',
  '--max-num-seqs',
  '8',
  '--log-level',
  'error',
];

/** flags: beside those of every engine of this test. */
export async function startEngine(port, flags = []) {
  const argv = ['packages/server/dist/cli/main.js', 'serve', 'models/tiny-llama', '--port', String(port)];
  const served = ['--served-model-name', 'tiny', '--shutdown-timeout', '60', ...FLAGS];
  const engine = { port, ...start(process.execPath, [...argv, ...served, ...flags]) };
  await until(
    `the engine on port ${port} is up`,
    async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok,
    engine,
  );
  return engine;
}

export async function metricsText(port) {
  return (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
}

/** Sum of a metric over engines. */
export async function metric(ports, name) {
  const texts = await Promise.all(ports.map(metricsText));
  const values = texts.map(text => Number(new RegExp(`^${name}\\{.*\\} (\\S+)$`, 'm').exec(text)?.[1] ?? 0));
  return values.reduce((sum, value) => sum + value, 0);
}
