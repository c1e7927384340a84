/** The turns of this thread's event loop, which connections and streams share. */

/** Streams wait for connections so many turns at most: some milliseconds. */
const MAX_TURNS = 8;

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
