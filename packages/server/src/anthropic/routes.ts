import type { AppContext } from '../app/context.ts';
import { readJsonBody } from '../http/body.ts';
import { jsonReply, type Reply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import { encodeMessages, encodePlan, planChat } from '../openai/chat-plan.ts';
import { inTermsOfApi } from '../openai/in-terms.ts';
import { collect, ignoredHeader, streamEvents, withPlaces } from '../openai/run.ts';
import { readCount, readMessages } from './request.ts';
import { MessageResponse } from './response.ts';

/** Fields that chat calls otherwise. */
const renamed: Readonly<Record<string, string>> = { stop: 'stop_sequences', continue_final_message: 'messages' };

/** POST /v1/messages: Anthropic's API over the chat of this server. */
export function handleMessages(app: AppContext, given: AppRequest): Promise<Reply> {
  return inTermsOfApi(renamed, async () => {
    app.admission.checkRoom();
    app.engine.checkQueue();
    const { body, ignored } = readMessages(await readJsonBody(given, app.maxBodyBytes), app.strict);
    const plan = planChat(app, body);
    return withPlaces(app, plan.sequences, async () => {
      const generation = await encodePlan(app, plan);
      const parser = generation.output.createParser();
      const response = new MessageResponse({ id: `msg_${given.requestId}`, model: plan.model, parser });
      const headers = ignoredHeader(ignored);
      if (plan.streaming.stream) return streamEvents(app, given, generation, response, headers);
      const [output] = await collect(app, given, generation);
      return jsonReply(response.whole(output!), headers);
    });
  });
}

/** POST /v1/messages/count_tokens */
export function handleCountTokens(app: AppContext, given: AppRequest): Promise<Reply> {
  return inTermsOfApi(renamed, async () => {
    const { body, ignored } = readCount(await readJsonBody(given, app.maxBodyBytes), app.strict);
    const tokens = await encodeMessages(app, planChat(app, body), null);
    return jsonReply({ input_tokens: tokens.length }, ignoredHeader(ignored));
  });
}
