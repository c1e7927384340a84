/**
 * A client with a process of its own, so that what it measures is the server's and not that of the clients which make the load: by a raw
 * socket, which it opens anew for each request. Arguments: port, milliseconds between requests, body. It tells when it was refused for the
 * first time, by the message "refused". Asked by any message, it ends with
 * a message of the milliseconds from connecting to the answer, of each request that was refused, and of its own event loop's delay, p99.
 */
import { connect } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const [port, everyMs, body] = process.argv.slice(2);
const head = `POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n`;
const refused = [];
const loop = monitorEventLoopDelay({ resolution: 5 });
loop.enable();

function probe() {
  const began = performance.now();
  const socket = connect(Number(port), '127.0.0.1', () => socket.write(head + body));
  socket.once('data', answer => {
    if (answer.toString('latin1').startsWith('HTTP/1.1 429')) {
      if (refused.push(performance.now() - began) === 1) process.send('refused');
    }
    socket.destroy();
  });
  socket.on('error', () => undefined);
}

setInterval(probe, Number(everyMs));
process.once('message', () => {
  process.send({ refused, loopP99: loop.percentile(99) / 1e6 }, () => process.exit());
});
process.once('disconnect', () => process.exit());
