/**
 * Scale-out as deploy/ describes it: three engines behind HAProxy, watched by Prometheus, all from Debian's packages, which are
 * installed where they are missing. Prints a line for each check and ends with 1 when any fails.
 *
 *   npm run test:deploy
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { enginesUp, startBalancer } from './balancer.mjs';
import { metric, metricsText, startEngine } from './engines.mjs';
import { complete, inParallel, shuffled, stream, text } from './load.mjs';
import { freePorts, installMissing, until } from './processes.mjs';
import { dashboardQueries, lint, query, rules, startPrometheus } from './prometheus.mjs';

const SESSIONS = 18;
const ROUNDS = 5;
const STREAMS = 24;
const STREAM_TOKENS = 48;

let failed = 0;
function check(what, ok, figures) {
  if (!ok) failed++;
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${what}: ${figures}`);
}

/** Share of prompt tokens found in caches when sessions come back in turn, each with a prefix of its own. */
async function hitRate(balancer, ports, firstSeed) {
  const count = () => Promise.all(['hits', 'queries'].map(name => metric(ports, `vllm:prefix_cache_${name}_total`)));
  const [hitsBefore, queriesBefore] = await count();
  // Each round in another order: a fixed one could agree with the turns of round robin.
  const rounds = Array.from({ length: ROUNDS }, (_, round) => shuffled(SESSIONS, firstSeed + round));
  const tasks = rounds.flat().map((session, i) => {
    const prompt = `${text(firstSeed + session, 100)} ${text(firstSeed + 1000 + i, 5)}`;
    return () => complete(balancer.origin, prompt);
  });
  const answers = await inParallel(tasks, 6);
  const [hits, queries] = await count();
  const failures = answers.filter(({ status }) => status !== 200).map(({ status }) => status);
  return { rate: (hits - hitsBefore) / (queries - queriesBefore), failures };
}

async function affinity(folder, ports) {
  const turns = await startBalancer(folder, ports, config =>
    config.replace('balance hash var(txn.key)', 'balance roundrobin'),
  );
  const roundRobin = await hitRate(turns, ports, 1);
  turns.kill('SIGKILL');
  const balancer = await startBalancer(folder, ports);
  const hashed = await hitRate(balancer, ports, 5000);
  const percent = ({ rate }) => `${(100 * rate).toFixed(1)} %`;
  check(
    'prefix hits are above round robin',
    hashed.rate > roundRobin.rate + 0.1,
    `${percent(hashed)} against ${percent(roundRobin)}`,
  );
  const failures = [...roundRobin.failures, ...hashed.failures];
  check('no request fails', failures.length === 0, `${2 * SESSIONS * ROUNDS} requests ${failures.join(' ')}`.trim());
  return balancer;
}

async function keys({ origin }) {
  const used = async (count, prompt, headers) => {
    const answers = await inParallel(
      Array.from({ length: count }, (_, i) => () => complete(origin, prompt(i), headers(i))),
      1,
    );
    return new Set(answers.map(answer => answer.engine)).size;
  };
  const session = await used(
    6,
    i => text(i, 4),
    () => ({ 'x-session-id': 'someone' }),
  );
  check('a session stays on one engine', session === 1, `6 requests, ${session} engine`);
  const models = await Promise.all(
    Array.from({ length: 6 }, async () => (await fetch(`${origin}/v1/models`)).headers.get('x-served-by')),
  );
  check('requests without a key take turns', new Set(models).size === 3, `6 requests, ${new Set(models).size} engines`);
  const big = await complete(origin, 'once upon a time '.repeat(20_000));
  check('a body above the buffer reaches an engine', big.status === 400 && big.engine !== null, `status ${big.status}`);
}

/** Streams through the balancer while `disturb` happens to one engine. */
async function disturbed(balancer, disturb) {
  const streams = [];
  const tasks = Array.from({ length: STREAMS }, (_, i) => () => {
    streams.push(stream(balancer.origin, text(9000 + i, 6), STREAM_TOKENS));
    return streams.at(-1).end;
  });
  const ends = inParallel(tasks, 12);
  const running = () => streams.filter(({ state }) => state.engine === 'engine2' && state.end === null);
  await until('streams run on the engine', async () => running().length >= 3);
  const begun = running();
  await disturb();
  await ends;
  return { streams, begun };
}

const count = (streams, end) => streams.filter(({ state }) => state.end === end).length;

async function killed(balancer, engines) {
  const { streams, begun } = await disturbed(balancer, async () => engines[1].kill('SIGKILL'));
  const lost = streams.filter(({ state }) => state.end !== 'whole');
  const own = lost.every(one => begun.includes(one));
  check(
    'kill -9 loses only streams that the engine had begun',
    own && lost.length <= begun.length && lost.length > 0,
    `${lost.length} lost of ${begun.length} in flight on it, ${count(streams, 'whole')} of ${STREAMS} whole`,
  );
  engines[1] = await startEngine(engines[1].port);
  await until('HAProxy takes the engine back', async () => (await enginesUp(balancer)) === 3);
}

async function drained(balancer, engines) {
  const { streams, begun } = await disturbed(balancer, async () => engines[1].kill('SIGTERM'));
  const code = await engines[1].exit;
  check(
    'a drain by SIGTERM loses nothing',
    count(streams, 'whole') === STREAMS && code === 0,
    `${count(streams, 'whole')} of ${STREAMS} whole, ${begun.length} were in flight on it; exit code ${code}`,
  );
  await until('HAProxy leaves the engine out', async () => (await enginesUp(balancer)) === 2);
  engines[1] = await startEngine(engines[1].port);
}

async function watched(folder, ports) {
  const prometheus = await startPrometheus(folder, ports);
  await until(
    'Prometheus has scraped twice',
    async () => (await query(prometheus, 'min(count_over_time(up{job="quire"}[1m]))'))[0] >= 2,
  );
  const up = await query(prometheus, 'up{job="quire"}');
  check('Prometheus scrapes all engines', up.length === 3 && up.every(value => value === 1), `up is ${up.join(', ')}`);
  const expressions = dashboardQueries('tiny');
  const empty = [];
  for (const expression of expressions) if ((await query(prometheus, expression)).length === 0) empty.push(expression);
  check(
    'every query of the dashboard finds something',
    empty.length === 0,
    empty.length === 0 ? `${expressions.length} queries` : empty.join('; '),
  );
  await until('alerts are evaluated', async () =>
    (await rules(prometheus)).every(({ health }) => health !== 'unknown'),
  );
  const states = await rules(prometheus);
  check(
    'every alert can be evaluated',
    states.length > 0 && states.every(({ health }) => health === 'ok'),
    states.map(({ name, health }) => `${name} ${health}`).join(', '),
  );
  const findings = lint(await metricsText(ports[0]));
  check(
    'promtool finds nothing but colons',
    findings.length === 0,
    findings.length === 0 ? 'clean' : findings.join('; '),
  );
}

installMissing({ haproxy: 'haproxy', prometheus: 'prometheus' });
const folder = mkdtempSync(join(tmpdir(), 'quire-deploy-'));
try {
  const ports = await freePorts(3);
  const engines = await Promise.all(ports.map(port => startEngine(port)));
  const balancer = await affinity(folder, ports);
  await keys(balancer);
  await killed(balancer, engines);
  await drained(balancer, engines);
  await watched(folder, ports);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(failed === 0 ? 'All checks passed.' : `${failed} checks failed.`);
process.exit(failed === 0 ? 0 : 1);
