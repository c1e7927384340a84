// KV cache events over real ZeroMQ: starts a server with the bundled model, subscribes, sends a prompt, and asks for a replay.
// `npm run build && npm install --no-save zeromq@6.8.0 && node scripts/kv-events/zeromq.mjs`
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { decode } from '@msgpack/msgpack';
import { Dealer, Subscriber } from 'zeromq';

const freePort = async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
};
const endpoint = `tcp://127.0.0.1:${await freePort()}`;
const replay = `tcp://127.0.0.1:${await freePort()}`;
const config = { enable_kv_cache_events: true, endpoint, replay_endpoint: replay, topic: 'kv@pod@tiny' };
const main = new URL('../../packages/server/dist/cli/main.js', import.meta.url).pathname;
const flags = ['--device', 'reference', '--port', '0', '--kv-events-config', JSON.stringify(config)];
const server = spawn(process.execPath, [main, 'serve', 'models/tiny-llama', ...flags], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
process.on('exit', () => server.kill());
let origin = '';
for await (const text of server.stdout) {
  origin = /Serving .* on (\S+)/.exec(String(text))?.[1] ?? '';
  if (origin !== '') break;
}

const subscriber = new Subscriber();
subscriber.connect(endpoint);
subscriber.subscribe('kv@');
await new Promise(resolve => setTimeout(resolve, 500));
const prompt = Array.from({ length: 40 }, (_, i) => 300 + i);
const body = JSON.stringify({ prompt, max_tokens: 1 });
await fetch(`${origin}/v1/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
const [topic, number, payload] = await subscriber.receive();
const [, events] = decode(payload);
console.log(String(topic), number.readBigUInt64BE(), JSON.stringify(events));
const stored = events.find(event => event.type === 'BlockStored');
if (JSON.stringify(stored.token_ids) !== JSON.stringify(prompt.slice(0, 32))) throw new Error('other tokens were told');

const dealer = new Dealer();
dealer.connect(replay);
await dealer.send([Buffer.alloc(0), Buffer.alloc(8)]);
const numbers = [];
for await (const [, batch] of dealer) {
  numbers.push(batch.readBigInt64BE());
  if (numbers.at(-1) === -1n) break;
}
console.log(`replayed: ${numbers.join(', ')}`);
if (numbers[0] !== 0n) throw new Error('the replay does not begin with the first batch');
process.exit(0);
