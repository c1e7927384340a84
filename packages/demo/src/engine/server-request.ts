import type { FinishReason, SamplingParams } from '@quire/core';
import type { CompletionDelta, FromEngine, Prompt } from './messages.ts';
import { serverSentEvents } from './server-sent-events.ts';

export interface ServerRequestOptions {
  readonly id: string;
  readonly prompt: Prompt;
  readonly params: SamplingParams;
  readonly apiUrl: URL;
  readonly fetch: typeof fetch;
  /** Told what the server calls the request. */
  readonly onNamed: (name: string) => void;
}

/** A chunk of a stream, of chat or of completions. */
interface Chunk {
  readonly choices: readonly {
    readonly index: number;
    readonly delta?: { readonly content?: string | null };
    readonly text?: string;
    readonly token_ids?: readonly number[] | null;
    readonly finish_reason: FinishReason | null;
  }[];
  readonly usage?: { readonly prompt_tokens: number } | null;
  readonly error?: { readonly message: string };
}

/** What a server says of a request that it refuses. */
export async function errorMessage(response: Response): Promise<string> {
  const body = (await response.json().catch(() => null)) as { error?: { message?: string } } | null;
  return body?.error?.message ?? `The server answered ${response.status}.`;
}

/** A request of this page to a server, streamed. */
export class ServerRequest {
  readonly #options: ServerRequestOptions;
  readonly #abort = new AbortController();
  #numPromptTokens = 0;
  #timeToFirstToken: number | null = null;

  constructor(options: ServerRequestOptions) {
    this.#options = options;
  }

  abort(): void {
    this.#abort.abort();
  }

  /** Resolves when it has ended, however it did; what becomes of it is told. */
  async run(tell: (message: FromEngine) => void): Promise<void> {
    const { id, onNamed } = this.#options;
    const sent = performance.now();
    try {
      const response = await this.#send();
      onNamed(response.headers.get('x-request-id') ?? '');
      if (!response.ok) throw new Error(await errorMessage(response));
      for await (const { data } of serverSentEvents(response.body!)) {
        if (data === '[DONE]') break;
        this.#timeToFirstToken ??= performance.now() - sent;
        tell(this.#output(JSON.parse(data) as Chunk));
      }
      tell({ ...this.#told([]), finished: true });
    } catch (error) {
      if (this.#abort.signal.aborted) tell({ ...this.#told(this.#aborted()), finished: true });
      else tell({ kind: 'refused', id, message: error instanceof Error ? error.message : String(error) });
    }
  }

  #send(): Promise<Response> {
    const { prompt, params, apiUrl, fetch } = this.#options;
    const { temperature, topP, maxTokens, seed, n, ignoreEos } = params;
    const route = 'messages' in prompt ? 'chat/completions' : 'completions';
    const body = {
      ...('messages' in prompt ? { messages: prompt.messages } : { prompt: prompt.text }),
      ...{ temperature, top_p: topP, max_tokens: maxTokens, seed: seed === undefined ? undefined : Number(seed), n },
      ...{ ignore_eos: ignoreEos, stream: true, return_token_ids: true },
      stream_options: { include_usage: true, continuous_usage_stats: true },
    };
    return fetch(new URL(route, apiUrl), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: this.#abort.signal,
    });
  }

  #output({ choices, usage, error }: Chunk): FromEngine {
    if (error !== undefined) throw new Error(error.message);
    this.#numPromptTokens = usage?.prompt_tokens ?? this.#numPromptTokens;
    return this.#told(
      choices.map(({ index, delta, text = delta?.content ?? '', token_ids: ids, finish_reason: finishReason }) => {
        return { index, text, numTokens: ids?.length ?? 0, finishReason };
      }),
    );
  }

  #aborted(): CompletionDelta[] {
    const { n = 1 } = this.#options.params;
    return Array.from({ length: n }, (_, index) => ({ index, text: '', numTokens: 0, finishReason: 'abort' }));
  }

  #told(outputs: readonly CompletionDelta[]): Extract<FromEngine, { kind: 'output' }> {
    return {
      kind: 'output',
      id: this.#options.id,
      numPromptTokens: this.#numPromptTokens,
      outputs,
      finished: false,
      timeToFirstToken: this.#timeToFirstToken,
      error: null,
    };
  }
}
