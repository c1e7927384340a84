/**
 * The whole conformance list on the emulated device, on chips of 1, 3 and 132 SMs: every case right by the reference device, and
 * the same bits on every chip in every order of lanes, warps and blocks. `npm run test:cuda-emu:full` builds what it needs.
 *
 *   node full-conformance.mjs [--op NAME]... [--jobs N] [--again]
 *
 * One process and one line per op, N at a time. What passed is not run again while addon and cases stay the same, unless --again.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openCudaEmuDevice } from '@quire/backend-cuda';
import { CaseRunner, conformanceCases, judge, sameBits, triviality, whyNotOffered } from '@quire/conformance';
import { opNames } from '@quire/core/program';
import { openReferenceDevice } from '@quire/core/reference';

const root = resolve(import.meta.dirname, '../..');
const cache = join(root, '.cache/cuda-emu-conformance.jsonl');

/** The first one's outputs are compared with the reference device, the others' with its. */
const chips = [
  { smCount: 3, blocksPerSm: 2, order: 'shuffled', seed: 1 },
  { smCount: 1, blocksPerSm: 1, order: 'forward', seed: 0 },
  { smCount: 1, blocksPerSm: 2, order: 'shuffled', seed: 2 },
  { smCount: 132, blocksPerSm: 1, order: 'reverse', seed: 0 },
  { smCount: 132, blocksPerSm: 2, order: 'shuffled', seed: 3 },
];

const { values: options } = parseArgs({
  options: {
    op: { type: 'string', multiple: true },
    jobs: { type: 'string', default: '2' },
    again: { type: 'boolean' },
    worker: { type: 'string' },
  },
});

if (options.worker === undefined) await runAll();
else console.log(JSON.stringify(await checkOp(options.worker)));

async function runAll() {
  const key = keyOfBuild();
  const passed = options.again ? new Map() : readPassed(key);
  const waiting = [...(options.op ?? opNames)];
  const results = [];
  const work = async () => {
    for (let op = waiting.shift(); op !== undefined; op = waiting.shift()) {
      const result = passed.get(op) ?? (await runWorker(op));
      results.push(result);
      if (!passed.has(op) && result.failures.length === 0)
        appendFileSync(cache, `${JSON.stringify({ key, ...result })}\n`);
      printLine(result, passed.has(op));
    }
  };
  await Promise.all(Array.from({ length: Number(options.jobs) }, work));
  const sum = field => results.reduce((total, result) => total + result[field], 0);
  const failed = results.reduce((total, { failures }) => total + failures.length, 0);
  console.log(
    `${results.length} ops, ${sum('cases')} cases on ${chips.length} chips, ${failed} failed, ${sum('notOffered')} n/a`,
  );
  process.exitCode = failed === 0 ? 0 : 1;
}

function printLine({ op, cases, notOffered, worst, seconds, failures }, kept) {
  const columns = [op.padEnd(18), `${cases} cases`.padStart(10), `${notOffered} n/a`.padStart(7)];
  const share = worst === null ? 'not finite' : worst.toFixed(3);
  columns.push(`${failures.length} failed`, `worst ${share}`, kept ? 'earlier' : `${seconds.toFixed(0)} s`);
  console.log(columns.join('  '));
  for (const failure of failures.slice(0, 10)) console.log(`  ${failure}`);
}

function runWorker(op) {
  return new Promise(done => {
    const child = spawn(process.execPath, [fileURLToPath(import.meta.url), '--worker', op], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', piece => {
      text += piece;
    });
    child.on('close', (code, signal) => {
      const crashed = {
        op,
        cases: 0,
        notOffered: 0,
        worst: null,
        seconds: 0,
        failures: [`ended with ${signal ?? code}`],
      };
      done(code === 0 ? JSON.parse(text) : crashed);
    });
  });
}

async function checkOp(op) {
  const started = performance.now();
  const cases = conformanceCases().filter(testCase => testCase.op === op);
  if (cases.length === 0) throw new Error(`found op ${op}, expected one of ${opNames.join(', ')}`);
  const result = { op, cases: 0, notOffered: 0, worst: 0, seconds: 0, failures: [] };
  const first = new Map();
  for (const chip of chips) await checkChip(chip, cases, first, result);
  return {
    ...result,
    cases: first.size,
    notOffered: cases.length - first.size,
    seconds: (performance.now() - started) / 1000,
  };
}

/** Fills `first` when it is the first chip, and compares with it when it is not. */
async function checkChip(chip, cases, first, result) {
  const device = await openCudaEmuDevice({ chip });
  const runner = new CaseRunner(device);
  const oracle = chip === chips[0] ? new CaseRunner(await openReferenceDevice()) : null;
  const chipName = `${chip.smCount} SMs, ${chip.order} ${chip.seed}`;
  for (const testCase of cases) {
    if (whyNotOffered(testCase, device) !== undefined) continue;
    const inputs = testCase.inputs();
    const outcome = await runner.run(testCase, inputs);
    const failure =
      oracle === null
        ? (sameBits(outcome, first.get(testCase)) ?? outcome.damage?.message)
        : await compare(testCase, inputs, outcome, oracle, result);
    if (oracle !== null) first.set(testCase, outcome);
    if (failure !== undefined)
      result.failures.push(`case ${testCase.index} (${testCase.name}) on ${chipName}: ${failure}`);
  }
  await device.dispose();
}

async function compare(testCase, inputs, outcome, oracle, result) {
  const expected = await oracle.run(testCase, inputs);
  const verdict = judge(testCase, inputs, expected, outcome);
  // JSON has no infinity: null stands for it.
  if (result.worst !== null)
    result.worst = Number.isFinite(verdict.worst) ? Math.max(result.worst, verdict.worst) : null;
  const { tensor, index, message } = verdict.failure ?? {};
  if (verdict.failure !== undefined) return `${tensor}[${index}]: ${message}`;
  return triviality(testCase, inputs, expected);
}

/** Of what decides the results: the addon, and the cases. */
function keyOfBuild() {
  const hash = createHash('sha256');
  const folder = join(root, 'test/conformance/dist');
  const cases = readdirSync(folder, { recursive: true }).filter(file => file.endsWith('.js'));
  const addon =
    process.env.QUIRE_CUDA_EMU_ADDON ?? join(root, 'packages/backend-cuda/build/emu/Release/quire_cuda.node');
  for (const file of [addon, ...cases.sort().map(name => join(folder, name))]) hash.update(readFileSync(file));
  return hash.digest('hex').slice(0, 16);
}

function readPassed(key) {
  mkdirSync(dirname(cache), { recursive: true });
  if (!existsSync(cache)) return new Map();
  const lines = readFileSync(cache, 'utf8').split('\n').filter(Boolean);
  const results = lines.map(line => JSON.parse(line)).filter(result => result.key === key);
  return new Map(results.map(result => [result.op, result]));
}
