/**
 * A server whose engine computes nothing, in a process of its own. Its parent sends the options of the engine, gets the port, and
 * may ask for what the process has used so far.
 */
import { subscribe } from 'node:diagnostics_channel';
import type { ServerResponse } from 'node:http';
import { createHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { EngineProcess } from '../../engine-process/engine-process.ts';
import { type RunningServer, startServer } from '../../serve/start-server.ts';
import type { FrontEndAsk, FrontEndUse } from './front-end.ts';

let serving: Promise<RunningServer> | null = null;
const delay = monitorEventLoopDelay({ resolution: 5 });
/** Microseconds. */
const refusals = createHistogram();

process.on('message', (ask: FrontEndAsk) => {
  if (ask.kind === 'start') serving = start(ask);
  else if (ask.kind === 'use') void serving?.then(server => process.send!(use(server)));
  else if (ask.kind === 'drain') void serving?.then(server => server.close());
  else reset();
});
process.on('disconnect', () => process.exit());

function reset(): void {
  delay.reset();
  refusals.reset();
}

/** From the head of a request that is refused to the end of its answer. */
function watchRefusals(): void {
  const started = new WeakMap<ServerResponse, number>();
  subscribe('http.server.request.start', message => {
    started.set((message as { response: ServerResponse }).response, performance.now());
  });
  subscribe('http.server.response.finish', message => {
    const { response } = message as { response: ServerResponse };
    const took = performance.now() - (started.get(response) ?? 0);
    if (response.statusCode === 429) refusals.record(Math.max(1, Math.round(1000 * took)));
  });
}

async function start({ options, paced }: Extract<FrontEndAsk, { kind: 'start' }>): Promise<RunningServer> {
  const server = await startServer({
    ...options,
    port: 0,
    engineProcess: new URL(paced ? './paced-host-main.js' : './mock-host-main.js', import.meta.url),
    disableLogStats: true,
  });
  delay.enable();
  watchRefusals();
  process.send!({ port: server.port });
  return server;
}

function use({ engine }: RunningServer): FrontEndUse {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  return {
    cpuMs: (user + system) / 1000,
    rss,
    heapUsed,
    enginePid: engine instanceof EngineProcess ? (engine.pid ?? 0) : 0,
    loopDelayP99: delay.percentile(99) / 1e6,
    loopDelayMax: delay.max / 1e6,
    refusalP99: refusals.percentile(99) / 1e3,
  };
}
