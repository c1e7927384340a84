import { type AppContext, servedModel } from '../app/context.ts';
import { jsonReply, type Reply } from '../http/reply.ts';

/** GET /v1/models */
export function handleModels(app: AppContext): Reply {
  return jsonReply({ object: 'list', data: app.modelNames.map(name => describe(app, name)) });
}

/** GET /v1/models/{id}: ids may hold slashes. */
export function handleModel(app: AppContext, id: string): Reply {
  return jsonReply(describe(app, servedModel(app, id)));
}

function describe(app: AppContext, id: string): unknown {
  const { maxModelLen } = app.engine.limits;
  return { id, object: 'model', created: app.created, owned_by: 'quire', max_model_len: maxModelLen };
}
