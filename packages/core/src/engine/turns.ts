/** Work that runs longer than this lets others have a turn. */
const TURN_MILLISECONDS = 5;

/**
 * Lets the event loop run between steps. Results that arrive as resolved promises alone would keep timers, sockets and input
 * waiting for as long as there is work. A message is the cheapest macrotask that Node and browsers share.
 */
export class Turns {
  readonly #channel = new MessageChannel();
  #last = performance.now();
  #resume: (() => void) | null = null;

  constructor() {
    this.#channel.port1.onmessage = () => this.#resume?.();
  }

  async giveWay(): Promise<void> {
    if (performance.now() - this.#last < TURN_MILLISECONDS) return;
    await new Promise<void>(resolve => {
      this.#resume = resolve;
      this.#channel.port2.postMessage(null);
    });
    this.#last = performance.now();
  }

  close(): void {
    this.#channel.port1.close();
    this.#channel.port2.close();
  }
}
