/**
 * An engine process that ends by SIGKILL where the test says: QUIRE_TEST_CRASH is a JSON list with an entry for each process that is
 * started, in order; the file QUIRE_TEST_CRASH_COUNT counts them. Entry: `{"frame": n}` ends it in the place of its n-th frame after
 * it took requests, heartbeats not counted, `{"frame": n, "bytes": k}` when only k bytes of it have left, `{"killer": id}` when a
 * request of that id is there, `{"hang": n}` stops it there without ending it, `{"garbage": n}` sends nonsense instead,
 * `{"atStart": true}` ends it before; `{"stall": n}` sends no step from there on; `{"stopAtStep": n}` stops it in the place of its
 * n-th frame of a step; null lets it live.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { EngineFeed } from '../../packages/server/dist/engine-process/feed.js';
import { runEngineHost } from '../../packages/server/dist/engine-process/run-host.js';

const { QUIRE_TEST_CRASH, QUIRE_TEST_CRASH_COUNT } = process.env;
const READY = 17;
const STEP = 19;
const HEARTBEAT = 22;
const number = Number(readFileSync(QUIRE_TEST_CRASH_COUNT, 'utf8'));
writeFileSync(QUIRE_TEST_CRASH_COUNT, String(number + 1));
const plan = JSON.parse(QUIRE_TEST_CRASH)[number] ?? {};
const die = () => process.kill(process.pid, 'SIGKILL');

if (plan.atStart) die();
if (plan.killer !== undefined) {
  const add = EngineFeed.prototype.add;
  EngineFeed.prototype.add = function (ask) {
    // After those that came with it have begun.
    if (ask.options.requestId === plan.killer) setTimeout(die, 50);
    else add.call(this, ask);
  };
}

let isReady = false;
let [frames, steps] = [0, 0];
runEngineHost({
  ...(plan.mock
    ? { openDevice: (await import('../../packages/server/dist/bench/mock-device.js')).openMockDevice }
    : {}),
  send(frame, write) {
    // Heartbeats do not count: how many come before a step depends on the machine.
    if (!isReady || frame[5] === HEARTBEAT) {
      isReady ||= frame[5] === READY;
      write(frame);
      return;
    }
    const at = frames++;
    const isStopped = frame[5] === STEP && steps++ === plan.stopAtStep;
    if (isStopped) process.kill(process.pid, 'SIGSTOP');
    if (at === plan.frame && plan.bytes === undefined) die();
    else if (at === plan.frame) {
      write(frame.subarray(0, plan.bytes));
      setImmediate(die);
    } else if (at >= plan.stall && frame[5] === STEP) {
      // The device hangs, and the thread lives.
    } else if (at === plan.garbage) write(Buffer.from('this is no frame at all, and long enough to be read as one'));
    else if (at === plan.hang) process.kill(process.pid, 'SIGSTOP');
    else write(frame);
  },
});
