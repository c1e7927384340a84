import type { AppContext } from '../app/context.ts';
import { readJsonBody } from '../http/body.ts';
import { HttpError, invalidField, toHttpError } from '../http/errors.ts';
import { jsonReply, type Reply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import type { Router } from '../http/router.ts';
import { encodePlan, planChat } from '../openai/chat-plan.ts';
import { inTermsOfApi } from '../openai/in-terms.ts';
import { collect, type Generation, ignoredHeader, type RequestEnd, streamEvents, withPlaces } from '../openai/run.ts';
import { type Item, readInput, toMessages } from './items.ts';
import { type ResponsesRequest, readRequest, toChatBody } from './request.ts';
import { CANCELLED, type ResponseBody, ResponsesAnswer } from './response.ts';
import { ResponseStore } from './store.ts';

/** Fields that chat calls otherwise. */
const renamed: Readonly<Record<string, string>> = {
  messages: 'input',
  max_completion_tokens: 'max_output_tokens',
  response_format: 'text.format',
  reasoning_effort: 'reasoning.effort',
};

const MAX_STORED = 1024;
const MAX_STORED_BYTES = 64 * 2 ** 20;

/** OpenAI's Responses API over the chat of this server, with a store in memory. */
export function addResponses(routes: Router, app: AppContext): Router {
  const store = new ResponseStore(MAX_STORED, MAX_STORED_BYTES);
  const find = (id: string) => store.get(id, 'response_id');
  return routes
    .add('/v1/responses', { POST: request => createResponse(app, store, request) })
    .add('/v1/responses/*/cancel', { POST: (_, id) => cancel(store, id) })
    .add('/v1/responses/*/input_items', { GET: (request, id) => listItems(find(id).input, request.query) })
    .add('/v1/responses/*', {
      GET: ({ query }, id) => {
        if (query.get('stream') === 'true') throw invalidField('stream', 'stream: a stored response is given whole.');
        return jsonReply(find(id).body);
      },
      DELETE: (_, id) => {
        find(id).cancel?.();
        store.delete(id);
        return jsonReply({ id, object: 'response', deleted: true });
      },
    });
}

function createResponse(app: AppContext, store: ResponseStore, given: AppRequest): Promise<Reply> {
  return inTermsOfApi(renamed, async () => {
    app.admission.checkRoom();
    app.engine.checkQueue();
    const { request, ignored } = readRequest(await readJsonBody(given, app.maxBodyBytes), app.strict);
    const isBackground = request.background === true;
    if (isBackground && request.store === false) {
      throw invalidField('background', 'background needs store: nobody could ask for the response.', 'invalid_value');
    }
    const input = readInput(request.input);
    const conversation = [...earlier(store, request), ...input];
    const plan = planChat(app, toChatBody(request, toMessages(conversation)));
    return withPlaces(app, plan.sequences, async goesOn => {
      const generation = await encodePlan(app, plan);
      const id = `resp_${given.requestId}`;
      const cancelled = new AbortController();
      let isBegun = false;
      const onChange = (body: ResponseBody) => {
        if (request.store === false || (isBegun && !store.has(id))) return;
        isBegun = true;
        const running = body.status === 'in_progress';
        const stop = () => cancelled.abort(new HttpError(409, 'The response was cancelled.', { code: CANCELLED }));
        store.put({ id, body, input, conversation, ...(running ? { cancel: stop } : {}) });
      };
      const { output } = generation;
      const answer = new ResponsesAnswer({
        id,
        model: plan.model,
        request,
        tokenizer: app.tokenizer,
        output,
        onChange,
      });
      const headers = ignoredHeader(ignored);
      // What runs in the background goes on without its client.
      const signal = isBackground ? cancelled.signal : AbortSignal.any([given.signal, cancelled.signal]);
      const end = { requestId: given.requestId, signal };
      if (plan.streaming.stream) return streamEvents(app, end, generation, answer, headers);
      if (isBackground) {
        goesOn(runBehind(app, end, generation, answer));
        return jsonReply(answer.begin(), headers);
      }
      const [whole] = await collect(app, end, generation);
      return jsonReply(answer.whole(whole!), headers);
    });
  });
}

/** Runs a response whose client was answered already. What becomes of it is stored. Never rejects. */
async function runBehind(
  app: AppContext,
  end: RequestEnd,
  generation: Generation,
  answer: ResponsesAnswer,
): Promise<void> {
  try {
    const [whole] = await collect(app, end, generation);
    answer.whole(whole!);
  } catch (error) {
    const reason = toHttpError(end.signal.aborted ? end.signal.reason : error);
    app.log[reason.status >= 500 ? 'error' : 'info']({ requestId: end.requestId, err: error }, reason.message);
    answer.failure(reason);
  }
}

/** What earlier responses leave to this one. Instructions are not handed down. */
function earlier(store: ResponseStore, { previous_response_id: id }: ResponsesRequest): Item[] {
  if (typeof id !== 'string') return [];
  const { body, conversation } = store.get(id, 'previous_response_id');
  if (body.status === 'in_progress') {
    const message = 'previous_response_id: that response is still in progress.';
    throw new HttpError(409, message, { param: 'previous_response_id', code: 'response_in_progress' });
  }
  return [...conversation, ...body.output];
}

/** Ends a response in progress. A stream of it ends with an error event. */
async function cancel(store: ResponseStore, id: string): Promise<Reply> {
  const { body, cancel: stop, ...stored } = store.get(id, 'response_id');
  if (stop === undefined) {
    throw invalidField('response_id', `response_id: the response is ${body.status} and cannot be cancelled.`);
  }
  stop();
  const cancelled = { ...body, status: 'cancelled' };
  store.put({ ...stored, body: cancelled });
  return jsonReply(cancelled);
}

function listItems(items: readonly Item[], query: URLSearchParams): Reply {
  const order = query.get('order') ?? 'desc';
  if (order !== 'asc' && order !== 'desc') throw invalidField('order', 'order must be asc or desc.', 'invalid_value');
  const limit = Number(query.get('limit') ?? 20);
  if (!Number.isInteger(limit) || limit < 1 || limit > 100) {
    throw invalidField('limit', 'limit must be an integer from 1 to 100.', 'invalid_value');
  }
  const sorted = order === 'asc' ? items : [...items].reverse();
  const from = sorted.findIndex(item => item.id === query.get('after')) + 1;
  const data = sorted.slice(from, from + limit);
  const ends = { first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
  return jsonReply({ object: 'list', data, ...ends, has_more: from + limit < sorted.length });
}
