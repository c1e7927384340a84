import type { AppContext } from '../app/context.ts';
import { readJsonBody } from '../http/body.ts';
import { jsonReply, type Reply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import { answerId } from './answer-fields.ts';
import { encodeCompletion, planCompletion } from './completion-plan.ts';
import { CompletionResponse } from './completion-response.ts';
import { collect, ignoredHeader, streamEvents, withPlaces } from './run.ts';

/** POST /v1/completions */
export async function handleCompletion(app: AppContext, given: AppRequest): Promise<Reply> {
  app.admission.checkRoom();
  app.engine.checkQueue();
  const plan = planCompletion(app, await readJsonBody(given, app.maxBodyBytes));
  return withPlaces(app, plan.sequences, async () => {
    const generation = await encodeCompletion(app, plan);
    const { request, streaming, model, ignored } = plan;
    const response = new CompletionResponse(app.tokenizer, {
      request,
      prompts: generation.prompts,
      streaming,
      model,
      fingerprint: app.fingerprint,
      id: answerId('cmpl', given, request),
    });
    const headers = ignoredHeader(ignored);
    if (streaming.stream) return streamEvents(app, given, generation, response, headers);
    return jsonReply(response.whole(await collect(app, given, generation)), headers);
  });
}
