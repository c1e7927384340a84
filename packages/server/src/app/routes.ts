import { handleCountTokens, handleMessages } from '../anthropic/routes.ts';
import { landingPage } from '../http/landing.ts';
import { jsonReply, type Reply, textReply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import { Router } from '../http/router.ts';
import { handleChat } from '../openai/chat.ts';
import { handleCompletion } from '../openai/completions.ts';
import { handleEmbeddings } from '../openai/embeddings.ts';
import { handleLoadLora, handleUnloadLora } from '../openai/lora.ts';
import { handleModel, handleModels } from '../openai/models.ts';
import { renderChat, renderCompletion } from '../openai/render.ts';
import { handleDetokenize, handleTokenize } from '../openai/tokenize.ts';
import { openApiDocument } from '../openapi/describe.ts';
import { addResponses } from '../responses/routes.ts';
import { version } from '../version.ts';
import type { AppContext } from './context.ts';
import { health, live, load, sleep, sleeping, wakeUp } from './operations.ts';

/** Paths that need no key. */
export const OPEN_PATHS: readonly string[] = ['/health', '/live'];
export const METRICS_PATH = '/metrics';
/** Paths that answer while the server drains: whoever waits for the drain watches it there. */
export const WATCHED_PATHS: readonly string[] = [...OPEN_PATHS, METRICS_PATH];

export function createRoutes(app: AppContext): Router {
  const routes = new Router()
    .add('/', { GET: request => landing(app, request) })
    .add('/health', { GET: () => health(app) })
    .add('/live', { GET: live })
    .add('/ping', { GET: () => health(app), POST: () => health(app) })
    .add('/load', { GET: () => load(app) })
    .add('/is_sleeping', { GET: () => sleeping(app) })
    .add('/sleep', { POST: request => sleep(app, request) })
    .add('/wake_up', { POST: request => wakeUp(app, request) })
    .add('/version', { GET: () => jsonReply({ version }) })
    .add('/v1/models', { GET: () => handleModels(app) })
    .add('/v1/models/*', { GET: (_, id) => handleModel(app, id) })
    .add('/v1/load_lora_adapter', { POST: request => handleLoadLora(app, request) })
    .add('/v1/unload_lora_adapter', { POST: request => handleUnloadLora(app, request) })
    .add('/v1/completions', { POST: request => handleCompletion(app, request) })
    .add('/v1/completions/render', { POST: request => renderCompletion(app, request) })
    .add('/v1/chat/completions', { POST: request => handleChat(app, request) })
    .add('/v1/chat/completions/render', { POST: request => renderChat(app, request) })
    .add('/v1/embeddings', { POST: request => handleEmbeddings(app, request) })
    .add('/v1/messages', { POST: request => handleMessages(app, request) })
    .add('/v1/messages/count_tokens', { POST: request => handleCountTokens(app, request) })
    .add('/tokenize', { POST: request => handleTokenize(app, request) })
    .add('/detokenize', { POST: request => handleDetokenize(app, request) });
  const { metrics } = app;
  if (metrics !== null) {
    routes.add(METRICS_PATH, { GET: async () => textReply(await metrics.expose(), metrics.contentType) });
  }
  return addDocument(addResponses(routes, app));
}

/** The document is made when it is first asked for. */
function addDocument(routes: Router): Router {
  let document: string | null = null;
  return routes.add('/openapi.json', {
    GET: () => {
      document ??= JSON.stringify(openApiDocument(routes, OPEN_PATHS));
      return textReply(document, 'application/json');
    },
  });
}

function landing(app: AppContext, request: AppRequest): Reply {
  const origin = `http://${request.header('host') ?? 'localhost'}`;
  return textReply(landingPage(app.modelNames[0] ?? '', origin), 'text/html; charset=utf-8');
}
