/**
 * The conformance list of one device against the reference, in as many processes as there are processors:
 * conformance.mjs [DEVICE] [full|quick] [OPERATION]. Prints a line per operation and every failure; exit code 1 when anything failed.
 * DEVICE may also be cuda-wgmma or cuda-emu-wgmma: prefill on warpgroup products, whatever a trial would say.
 */
import { fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { openCudaDevice, openCudaEmuDevice } from '@quire/backend-cuda';
import { conformanceCases, runCrosscheck } from '@quire/conformance';
import { openDevice } from '@quire/server';

const [name = 'cuda', set = 'full', onlyOp] = process.argv.slice(2);
/** A piece that takes longer has a kernel that does not end: its process is killed, and its cases have failed. */
const PATIENCE = name === 'cuda' || name === 'cuda-wgmma' ? 15_000 : 600_000;
if (process.send) await work();
else await lead();

/** Hands out cases of one operation, a few at a time: a case that kills its process costs that piece. */
async function lead() {
  const isWanted = ({ op, quick }) => (set === 'full' || quick) && (onlyOp === undefined || op === onlyOp);
  const pieces = piecesOf(conformanceCases().filter(isWanted));
  const reports = [];
  const workers = Math.min(availableParallelism(), 14);
  await Promise.all(Array.from({ length: workers }, () => serve(pieces, reports)));
  const lines = new Map();
  for (const { ops } of reports) for (const line of ops) merge(lines, line);
  for (const line of [...lines.values()].sort((a, b) => (a.op < b.op ? -1 : 1))) console.log(JSON.stringify(line));
  const failures = reports.flatMap(report => report.failures);
  for (const { op, index, name: title, message, worst } of failures)
    console.log(JSON.stringify({ op, index, title, worst, message }));
  const cases = reports.reduce((sum, report) => sum + report.cases, 0);
  console.log(JSON.stringify({ device: name, cases, failed: failures.length }));
  process.exit(failures.length > 0 ? 1 : 0);
}

function piecesOf(cases) {
  return [...groupByOp(cases)].flatMap(([op, list]) => {
    const pieces = [];
    for (let i = 0; i < list.length; i += 8) pieces.push({ op, cases: list.slice(i, i + 8).map(c => c.index) });
    return pieces;
  });
}

function groupByOp(cases) {
  const groups = new Map();
  for (const testCase of cases) groups.set(testCase.op, [...(groups.get(testCase.op) ?? []), testCase]);
  return groups;
}

async function serve(pieces, reports) {
  while (pieces.length > 0) {
    const child = fork(fileURLToPath(import.meta.url), process.argv.slice(2));
    let current;
    let watchdog;
    await new Promise(resolve => {
      const next = () => {
        clearTimeout(watchdog);
        current = pieces.pop();
        if (current === undefined) return child.disconnect();
        watchdog = setTimeout(() => child.kill('SIGKILL'), PATIENCE);
        child.send(current);
      };
      child.on('message', message => {
        if (message.report) reports.push(message.report);
        next();
      });
      child.on('exit', (code, signal) => {
        clearTimeout(watchdog);
        if (current !== undefined) {
          console.log(JSON.stringify({ lost: current, code, signal }));
          reports.push(lostPiece(current, code ?? signal));
        }
        resolve();
      });
    });
  }
}

function lostPiece({ op, cases }, code) {
  const failures = cases.map(index => ({
    op,
    index,
    name: '',
    worst: null,
    message: `its process ended: ${code}`,
  }));
  return {
    cases: cases.length,
    failed: cases.length,
    ops: [{ op, device: name, cases: cases.length, failed: cases.length, worst: null, notOffered: 0 }],
    failures,
  };
}

function merge(lines, { op, cases, failed, worst, notOffered }) {
  const line = lines.get(op) ?? { op, cases: 0, failed: 0, worst: 0, notOffered: 0 };
  line.cases += cases;
  line.failed += failed;
  line.notOffered += notOffered;
  line.worst = worst === null || line.worst === null ? null : Math.max(line.worst, worst);
  lines.set(op, line);
}

async function work() {
  const [device, oracle] = [await openNamed(), await openDevice('reference')];
  process.on('message', async ({ op, cases }) => {
    const report = await runCrosscheck({ devices: [{ name, device }], oracle, ops: [op], cases });
    process.send({ report });
  });
  process.on('disconnect', () => process.exit(0));
  process.send({});
}

function openNamed() {
  if (name === 'cuda-wgmma') return openCudaDevice({ prefill: 'wgmma' });
  if (name === 'cuda-emu-wgmma') return openCudaEmuDevice({ prefill: 'wgmma', chip: { wgmma: true } });
  return openDevice(name);
}
