/** The turns of this thread's event loop, which connections and streams share. */

import { setImmediate as nextTurn } from 'node:timers/promises';

/** Streams wait for connections so many turns at most: some milliseconds. */
const MAX_TURNS = 8;
/** More connections than a kernel lets wait. Beyond, new ones come as fast as they are taken. */
const MAX_WAITING = 10_000;

/** Connections that came in this turn or the one before it. */
let recent = 0;

/** To be told of each connection. Node takes one in a turn of the loop, so that there may be more behind it. */
export function connectionTaken(): void {
  recent++;
  setImmediate(() => setImmediate(() => recent--));
}

/** Does a slice of work in the next turn in which no connection comes: connections that wait wait for every slice that goes before. */
export function makeWay(work: () => void, turns = MAX_TURNS): void {
  setImmediate(() => (recent === 0 || turns === 0 ? work() : makeWay(work, turns - 1)));
}

/** Resolves when no connection waits to be taken, and what came with the last one was read. */
export async function allTaken(): Promise<void> {
  for (let [quiet, turns] = [0, 0]; quiet < 3 && turns < MAX_WAITING; turns++) {
    await nextTurn();
    quiet = recent === 0 ? quiet + 1 : 0;
  }
}
