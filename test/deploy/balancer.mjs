/** HAProxy with the configuration that is shipped, its addresses replaced. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts, root, start, until } from './processes.mjs';

/** change: edits the configuration further. */
export async function startBalancer(folder, enginePorts, change = text => text) {
  const [port, metricsPort] = await freePorts(2);
  let config = change(readFileSync(join(root, 'deploy/haproxy.cfg'), 'utf8'));
  const addresses = { 'bind :8000': `bind 127.0.0.1:${port}`, '127.0.0.1:8405': `127.0.0.1:${metricsPort}` };
  for (const [i, enginePort] of enginePorts.entries()) addresses[`127.0.0.1:${8001 + i}`] = `127.0.0.1:${enginePort}`;
  for (const [shipped, here] of Object.entries(addresses)) {
    if (!config.includes(shipped)) throw new Error(`deploy/haproxy.cfg has no ${shipped}`);
    config = config.replaceAll(shipped, here);
  }
  const file = join(folder, `haproxy-${port}.cfg`);
  writeFileSync(file, config);
  const haproxy = start('haproxy', ['-db', '-f', file]);
  const balancer = { port, metricsPort, origin: `http://127.0.0.1:${port}`, ...haproxy };
  await until('HAProxy sees all engines', async () => (await enginesUp(balancer)) === enginePorts.length, haproxy);
  return balancer;
}

/** Engines that HAProxy sends requests to. */
export async function enginesUp({ metricsPort }) {
  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  return [...text.matchAll(/^haproxy_server_status\{proxy="engines",server="\w+",state="UP"\} 1$/gm)].length;
}
