import { type AppContext, servedModel } from '../app/context.ts';
import { jsonReply, type Reply } from '../http/reply.ts';

/** GET /v1/models: the names of the model, then its adapters. */
export function handleModels(app: AppContext): Reply {
  const names = [...app.modelNames, ...app.adapters.names];
  return jsonReply({ object: 'list', data: names.map(name => describe(app, name)) });
}

/** GET /v1/models/{id}: ids may hold slashes. */
export function handleModel(app: AppContext, id: string): Reply {
  return jsonReply(describe(app, servedModel(app, id)));
}

/** An adapter has the model as its parent. */
function describe(app: AppContext, id: string): unknown {
  const { maxModelLen } = app.engine.limits;
  const parent = app.adapters.request(id) === null ? null : app.modelNames[0];
  const created = app.adapters.created(id) ?? app.created;
  return { id, object: 'model', created, owned_by: 'quire', parent, max_model_len: maxModelLen };
}
