import { HttpError } from '../http/errors.ts';
import { landingPage } from '../http/landing.ts';
import { sendJson, sendText } from '../http/respond.ts';
import { type RequestContext, Router } from '../http/router.ts';
import { handleChat } from '../openai/chat.ts';
import { handleCompletion } from '../openai/completions.ts';
import { handleModel, handleModels } from '../openai/models.ts';
import { version } from '../version.ts';
import type { AppContext } from './context.ts';

/** The one path that needs no key. */
export const HEALTH_PATH = '/health';

/** `ready`: whether new requests are taken. */
export function createRoutes(app: AppContext, ready: () => boolean): Router {
  return new Router()
    .add('/', { GET: context => sendLanding(app, context) })
    .add(HEALTH_PATH, { GET: context => sendHealth(context, ready()) })
    .add('/version', { GET: ({ res }) => sendJson(res, 200, { version }) })
    .add('/metrics', { GET: context => sendMetrics(app, context) })
    .add('/v1/models', { GET: context => handleModels(app, context) })
    .add('/v1/models/*', { GET: context => handleModel(app, context) })
    .add('/v1/completions', { POST: context => handleCompletion(app, context) })
    .add('/v1/chat/completions', { POST: context => handleChat(app, context) });
}

function sendHealth({ res }: RequestContext, ready: boolean): void {
  if (!ready) throw new HttpError(503, 'The server takes no requests.', { code: 'not_ready' });
  sendText(res, 200, 'text/plain; charset=utf-8', '');
}

async function sendMetrics(app: AppContext, { res }: RequestContext): Promise<void> {
  sendText(res, 200, app.metrics.contentType, await app.metrics.expose());
}

function sendLanding(app: AppContext, { req, res }: RequestContext): void {
  const origin = `http://${req.headers.host ?? 'localhost'}`;
  sendText(res, 200, 'text/html; charset=utf-8', landingPage(app.modelNames[0] ?? '', origin));
}
