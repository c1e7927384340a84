/** Work that runs longer than this lets others have a turn. */
const TURN_MILLISECONDS = 5;

/**
 * Lets the event loop run between steps. Results that arrive as resolved promises alone would keep timers, sockets and input
 * waiting for as long as there is work.
 */
export class Turns {
  #last = performance.now();

  async giveWay(): Promise<void> {
    if (performance.now() - this.#last < TURN_MILLISECONDS) return;
    await nextTurn();
    this.#last = performance.now();
  }
}

/**
 * Node's setImmediate where there is one: messages from a port to itself would hold Node's event loop. Elsewhere a message,
 * since browsers hold back nested timers.
 */
function nextTurn(): Promise<void> {
  const { setImmediate } = globalThis as { setImmediate?: (callback: () => void) => void };
  if (setImmediate !== undefined) return new Promise(resolve => setImmediate(resolve));
  const { port1, port2 } = new MessageChannel();
  return new Promise<void>(resolve => {
    port1.onmessage = () => resolve();
    port2.postMessage(null);
  }).finally(() => port1.close());
}
