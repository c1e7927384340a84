import { type AppContext, servedModel } from '../app/context.ts';
import { sendJson } from '../http/respond.ts';
import type { RequestContext } from '../http/router.ts';

/** GET /v1/models */
export function handleModels(app: AppContext, { res }: RequestContext): void {
  sendJson(res, 200, { object: 'list', data: app.modelNames.map(name => describe(app, name)) });
}

/** GET /v1/models/{id}: ids may hold slashes. */
export function handleModel(app: AppContext, { res, wildcard }: RequestContext): void {
  sendJson(res, 200, describe(app, servedModel(app, wildcard)));
}

function describe(app: AppContext, id: string): unknown {
  const { maxModelLen } = app.engine.limits;
  return { id, object: 'model', created: app.created, owned_by: 'quire', max_model_len: maxModelLen };
}
