import type { App } from '../app/app.ts';
import { textReply } from '../http/reply.ts';
import type { EngineDescription } from '../serve/open-engine.ts';
import { readPage } from './page-files.ts';
import { DASHBOARD_PATH, type StepFeed } from './step-feed.ts';
import { streamSteps } from './stream-steps.ts';

/**
 * Adds the page and the steps that it shows to an app. Files of the page need no key, as nothing of this server is in them: the
 * page asks for one. Rejects with ConfigError where it was not built.
 */
export async function addDashboard(app: App, feed: StepFeed, description: EngineDescription): Promise<void> {
  const page = await readPage();
  const source = { feed, description, draining: app.drainSignal };
  app.routes
    .add('/debug/steps', { GET: request => streamSteps(app.context, request, source) })
    // Relative, so that it holds behind a proxy that puts something before every path.
    .add('/ui', { GET: () => textReply('', 'text/plain; charset=utf-8', { location: 'ui/' }, 307) })
    .add(DASHBOARD_PATH, { GET: () => page.get('index.html')! });
  for (const [path, reply] of page) app.routes.add(`${DASHBOARD_PATH}${path}`, { GET: () => reply });
  app.open(['/ui', DASHBOARD_PATH, ...[...page.keys()].map(path => `${DASHBOARD_PATH}${path}`)]);
}
