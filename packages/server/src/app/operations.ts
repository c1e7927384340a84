/** What an operator and his probes ask: is it alive, is it ready, how much does it do, does it sleep. */
import { HttpError, invalidField } from '../http/errors.ts';
import { jsonReply, type Reply, textReply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import { ignoredHeader } from '../openai/run.ts';
import type { AppContext } from './context.ts';

/** GET /health, and GET or POST /ping, as SageMaker asks: whether new requests are taken. */
export function health(app: AppContext): Reply {
  if (!app.ready()) throw new HttpError(503, 'The server takes no requests.', { code: 'not_ready' });
  return live();
}

/** GET /live: the process answers, whatever the engine does. */
export function live(): Reply {
  return textReply('', 'text/plain; charset=utf-8');
}

/** GET /load: sequences let in and not finished. */
export function load(app: AppContext): Reply {
  return jsonReply({ server_load: app.admission.admitted });
}

/** GET /is_sleeping */
export function sleeping(app: AppContext): Reply {
  return jsonReply({ is_sleeping: app.engine.isSleeping });
}

/**
 * POST /sleep?level=1: frees the KV cache; level 2 the weights too, which are read again at waking. Requests in progress and new
 * ones wait.
 */
export async function sleep(app: AppContext, { query }: AppRequest): Promise<Reply> {
  checkSleepMode(app);
  const level = query.get('level') ?? '1';
  if (level !== '1' && level !== '2') throw invalidField('level', 'level must be 1 or 2.', 'invalid_value');
  await app.engine.sleep({ discardWeights: level === '2' });
  return textReply('', 'text/plain; charset=utf-8', ignoredHeader(others(query, ['level'])));
}

/** POST /wake_up: all of it, whatever `tags` say. */
export async function wakeUp(app: AppContext, { query }: AppRequest): Promise<Reply> {
  checkSleepMode(app);
  await app.engine.wakeUp();
  return textReply('', 'text/plain; charset=utf-8', ignoredHeader(others(query, [])));
}

/** Who may ask for tokens may not therefore stop the server for everybody. */
function checkSleepMode(app: AppContext): void {
  if (app.enableSleepMode) return;
  const message = 'This server does not sleep on request: start it with --enable-sleep-mode.';
  throw new HttpError(403, message, { code: 'sleep_mode_disabled' });
}

function others(query: URLSearchParams, known: readonly string[]): string[] {
  return [...new Set(query.keys())].filter(name => !known.includes(name));
}
