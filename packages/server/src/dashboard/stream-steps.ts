import type { AppContext } from '../app/context.ts';
import { HttpError } from '../http/errors.ts';
import { EventStream } from '../http/event-stream.ts';
import { eventReply, type Reply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import type { EngineDescription } from '../serve/open-engine.ts';
import type { StepFeed } from './step-feed.ts';

/** A page that is open somewhere and forgotten costs the engine as much as one that is looked at. */
const MAX_WATCHERS = 4;
const STATE_MS = 1000;

export interface StepSource {
  readonly feed: StepFeed;
  readonly description: EngineDescription;
  /** Aborts when the server begins to drain. */
  readonly draining: AbortSignal;
}

/**
 * GET /debug/steps: server-sent events. `engine` comes first, and says what runs; `trace` is a StepTrace after a step, the newest
 * where the client reads slowly; `state` tells every second what runs and waits. Throws HttpError 503 beyond four clients.
 */
export function streamSteps(app: AppContext, request: AppRequest, source: StepSource): Reply {
  const { feed, draining } = source;
  if (feed.numWatchers >= MAX_WATCHERS) {
    const message = `${MAX_WATCHERS} clients watch the steps already: close one of them.`;
    throw new HttpError(503, message, { code: 'too_many_watchers', headers: { 'retry-after': '10' } });
  }
  const stream = new EventStream();
  let isOver = false;
  stream.write(event('engine', JSON.stringify(engineOf(app, source.description))));
  let newest: string | null = null;
  let isWaiting = false;
  const send = async () => {
    if (isWaiting) return;
    isWaiting = true;
    try {
      await stream.ready();
      if (newest !== null && !isOver) stream.write(event('trace', newest));
      newest = null;
    } catch {
      end();
    } finally {
      isWaiting = false;
    }
  };
  const unwatch = feed.watch(trace => {
    newest = trace;
    void send();
  });
  const tellState = () => {
    const { numRequestsRunning: running, numRequestsWaiting: waiting } = app.engine.stats();
    if (!isWaiting) stream.write(event('state', JSON.stringify({ running, waiting })));
  };
  const timer = setInterval(tellState, STATE_MS);
  const end = () => {
    if (isOver) return;
    isOver = true;
    unwatch();
    clearInterval(timer);
    request.signal.removeEventListener('abort', end);
    draining.removeEventListener('abort', end);
    stream.end('');
  };
  request.signal.addEventListener('abort', end);
  draining.addEventListener('abort', end);
  return eventReply(stream);
}

function event(name: string, data: string): string {
  return `event: ${name}\ndata: ${data}\n\n`;
}

/** What the page shows of the engine. */
function engineOf({ engine, tokenizer, modelNames }: AppContext, { device }: EngineDescription) {
  const { maxModelLen, vocabSize, numBlocks, blockSize } = engine.limits;
  return {
    model: modelNames[0],
    deviceKind: device.kind,
    deviceName: device.name,
    software: device.capabilities.software,
    maxModelLen,
    vocabSize,
    numBlocks,
    blockSize,
    hasChatTemplate: tokenizer.hasChatTemplate,
  };
}
