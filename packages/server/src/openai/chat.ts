import type { AppContext } from '../app/context.ts';
import { readJsonBody } from '../http/body.ts';
import { jsonReply, type Reply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import { answerId } from './answer-fields.ts';
import { type ChatPlan, encodePlan, planChat } from './chat-plan.ts';
import { ChatResponse } from './chat-response.ts';
import { collect, ignoredHeader, streamEvents, withPlaces } from './run.ts';

/** POST /v1/chat/completions */
export async function handleChat(app: AppContext, given: AppRequest): Promise<Reply> {
  app.admission.checkRoom();
  app.engine.checkQueue();
  const plan = planChat(app, await readJsonBody(given, app.maxBodyBytes));
  return withPlaces(app, plan.sequences, async () => {
    const generation = await encodePlan(app, plan);
    const { request, streaming, model, ignored } = plan;
    const response = new ChatResponse(app.tokenizer, {
      request,
      streaming,
      model,
      output: generation.output,
      echoed: echoedText(plan),
      fingerprint: app.fingerprint,
      id: answerId('chatcmpl', given, request),
    });
    const headers = ignoredHeader(ignored);
    if (streaming.stream) return streamEvents(app, given, generation, response, headers);
    const [output] = await collect(app, given, generation);
    return jsonReply(response.whole(output!), headers);
  });
}

/** With `echo`, an answer that goes on with a message of the model begins with it. */
function echoedText({ request, messages }: ChatPlan): string {
  const last = messages.at(-1);
  return request.echo === true && last?.role === 'assistant' ? last.content : '';
}
