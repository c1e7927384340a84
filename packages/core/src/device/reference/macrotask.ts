type Callback = () => void;

/**
 * Calls back in a macrotask of its own, as soon as other events have had their turn. Node's setImmediate where there is one: a
 * port that posts to itself would hold Node's event loop. Else a message channel, since browsers hold back nested timers.
 */
export const nextMacrotask: (callback: Callback) => void =
  (globalThis as { setImmediate?: (callback: Callback) => void }).setImmediate ?? postToSelf();

function postToSelf(): (callback: Callback) => void {
  const { port1, port2 } = new MessageChannel();
  const callbacks: Callback[] = [];
  port1.onmessage = () => callbacks.shift()?.();
  return callback => {
    callbacks.push(callback);
    port2.postMessage(null);
  };
}
