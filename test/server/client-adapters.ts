/** The clients that people use, unmodified, behind one way to ask, so that one list of features is asked of all of them. */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { AIMessage, HumanMessage, SystemMessage } from '@langchain/core/messages';
import { ChatOpenAI } from '@langchain/openai';
import { generateText, jsonSchema, Output, streamText } from 'ai';
import OpenAI from 'openai';

export interface Turn {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

/** What is asked, in none of the clients' words. */
export interface Ask {
  turns: Turn[];
  temperature?: number;
  maxTokens?: number;
  stop?: string[];
  seed?: number;
  topP?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  /** A JSON schema that the text must keep to. */
  schema?: object;
  /** Fields that the client does not know. */
  extra?: Record<string, unknown>;
  signal?: AbortSignal;
}

export interface Said {
  text: string;
  finish: string | null | undefined;
  inputTokens: number | undefined;
  outputTokens: number | undefined;
  cachedTokens: number | undefined;
}

export interface Client {
  name: string;
  whole(ask: Ask): Promise<Said>;
  /** onText: called for each piece of text. */
  streamed(ask: Ask, onText?: () => void): Promise<Said>;
}

export function clientsOf(origin: string, apiKey = 'none'): Client[] {
  const baseURL = `${origin}/v1`;
  return [openAi(baseURL, apiKey), aiSdk(baseURL, apiKey), langChain(baseURL, apiKey)];
}

function openAi(baseURL: string, apiKey: string): Client {
  const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
  const body = ({ turns, schema, extra, ...ask }: Ask) => ({
    model: 'tiny',
    messages: turns,
    ...given({
      temperature: ask.temperature,
      max_tokens: ask.maxTokens,
      stop: ask.stop,
      seed: ask.seed,
      top_p: ask.topP,
      presence_penalty: ask.presencePenalty,
      frequency_penalty: ask.frequencyPenalty,
    }),
    ...(schema === undefined
      ? {}
      : {
          response_format: {
            type: 'json_schema' as const,
            json_schema: { name: 'answer', schema: schema as Record<string, unknown> },
          },
        }),
    ...extra,
  });
  const said = (text: string, finish: Said['finish'], usage: OpenAI.CompletionUsage | null | undefined): Said => ({
    text,
    finish,
    inputTokens: usage?.prompt_tokens,
    outputTokens: usage?.completion_tokens,
    cachedTokens: usage?.prompt_tokens_details?.cached_tokens,
  });
  return {
    name: 'openai',
    async whole(ask) {
      const { choices, usage } = await client.chat.completions.create(body(ask), { signal: ask.signal });
      return said(choices[0]!.message.content ?? '', choices[0]!.finish_reason, usage);
    },
    async streamed(ask, onText = () => {}) {
      const options = { stream: true as const, stream_options: { include_usage: true } };
      const stream = await client.chat.completions.create({ ...body(ask), ...options }, { signal: ask.signal });
      let [text, finish] = ['', null as string | null];
      let total: OpenAI.CompletionUsage | null | undefined;
      for await (const { choices, usage } of stream) {
        text += choices[0]?.delta.content ?? '';
        finish = choices[0]?.finish_reason ?? finish;
        total = usage ?? total;
        if (text !== '') onText();
      }
      // This client ends a stream that was aborted as if it were over.
      ask.signal?.throwIfAborted();
      return said(text, finish, total);
    },
  };
}

function aiSdk(baseURL: string, apiKey: string): Client {
  const options = (ask: Ask) => {
    const provider = createOpenAICompatible({
      name: 'quire',
      baseURL,
      apiKey,
      includeUsage: true,
      supportsStructuredOutputs: true,
      transformRequestBody: body => ({ ...body, ...ask.extra }),
    });
    return {
      model: provider('tiny'),
      allowSystemInMessages: true,
      messages: ask.turns,
      maxRetries: 0,
      ...given({
        temperature: ask.temperature,
        maxOutputTokens: ask.maxTokens,
        stopSequences: ask.stop,
        seed: ask.seed,
        topP: ask.topP,
        presencePenalty: ask.presencePenalty,
        frequencyPenalty: ask.frequencyPenalty,
        abortSignal: ask.signal,
      }),
      ...(ask.schema === undefined ? {} : { output: Output.object({ schema: jsonSchema(ask.schema) }) }),
    };
  };
  const said = (
    text: string,
    finish: string,
    usage: {
      inputTokens?: number | undefined;
      outputTokens?: number | undefined;
      inputTokenDetails?: { cacheReadTokens?: number | undefined };
    },
  ): Said => ({
    text,
    finish,
    inputTokens: usage.inputTokens,
    outputTokens: usage.outputTokens,
    cachedTokens: usage.inputTokenDetails?.cacheReadTokens,
  });
  return {
    name: 'ai',
    async whole(ask) {
      const { text, finishReason, usage } = await generateText(options(ask));
      return said(text, finishReason, usage);
    },
    async streamed(ask, onText = () => {}) {
      let failure: unknown = null;
      const result = streamText({
        ...options(ask),
        onError: ({ error }) => {
          failure = error;
        },
        onAbort: () => {
          failure = ask.signal?.reason;
        },
      });
      let text = '';
      for await (const piece of result.textStream) {
        text += piece;
        onText();
      }
      if (failure !== null) throw failure;
      return said(text, await result.finishReason, await result.usage);
    },
  };
}

function langChain(baseURL: string, apiKey: string): Client {
  const model = (ask: Ask) =>
    new ChatOpenAI({
      model: 'tiny',
      apiKey,
      maxRetries: 0,
      configuration: { baseURL },
      modelKwargs: {
        ...given({ seed: ask.seed }),
        ...(ask.schema === undefined
          ? {}
          : { response_format: { type: 'json_schema', json_schema: { name: 'answer', schema: ask.schema } } }),
        ...ask.extra,
      },
      ...given({
        temperature: ask.temperature,
        maxTokens: ask.maxTokens,
        topP: ask.topP,
        presencePenalty: ask.presencePenalty,
        frequencyPenalty: ask.frequencyPenalty,
      }),
    });
  const messages = ({ turns }: Ask) =>
    turns.map(
      ({ role, content }) => new ({ system: SystemMessage, user: HumanMessage, assistant: AIMessage })[role](content),
    );
  const options = ({ stop, signal }: Ask) => given({ stop, signal });
  const said = (answer: AIMessage | Awaited<ReturnType<ChatOpenAI['invoke']>>): Said => ({
    text: String(answer.content),
    finish: (answer.response_metadata as { finish_reason?: string }).finish_reason,
    inputTokens: answer.usage_metadata?.input_tokens,
    outputTokens: answer.usage_metadata?.output_tokens,
    cachedTokens: answer.usage_metadata?.input_token_details?.cache_read,
  });
  return {
    name: 'LangChain',
    whole: async ask => said(await model(ask).invoke(messages(ask), options(ask))),
    async streamed(ask, onText = () => {}) {
      let whole: Awaited<ReturnType<ChatOpenAI['invoke']>> | undefined;
      for await (const chunk of await model(ask).stream(messages(ask), options(ask))) {
        whole = whole?.concat(chunk) ?? chunk;
        if (String(whole.content) !== '') onText();
      }
      return said(whole!);
    },
  };
}

/** Without what is undefined: clients take it for given. */
function given<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
