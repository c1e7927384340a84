import type { SamplingParams, StepTrace } from '@quire/core';
import { reviveTrace } from '../state/recording.ts';
import type { EngineEnd } from './engine-end.ts';
import type { EngineInfo, FromEngine, Prompt, ToEngine } from './messages.ts';
import { RequestNames } from './request-names.ts';
import { errorMessage, ServerRequest } from './server-request.ts';
import { serverSentEvents } from './server-sent-events.ts';

const KEY = 'quire-key';
/** Between attempts to reach a server that is gone. */
const RETRY_MS = 2000;

/** The engine of `quire serve --ui`: its steps are watched, and requests go over its API. */
export class ServerEnd implements EngineEnd {
  readonly kind = 'server';
  readonly apiUrl = new URL('../v1/', document.baseURI);
  readonly #running = new Map<string, ServerRequest>();
  #tell: (message: FromEngine) => void = () => {};
  #key = sessionStorage.getItem(KEY) ?? '';
  readonly #names = new RequestNames();
  #isWatching = false;

  listen(tell: (message: FromEngine) => void): void {
    this.#tell = tell;
  }

  /** With the key that was given, where one was. */
  readonly fetch: typeof fetch = (input, init) => {
    const request = new Request(input, init);
    if (this.#key !== '') request.headers.set('authorization', `Bearer ${this.#key}`);
    return fetch(request);
  };

  unlock(key: string): void {
    this.#key = key;
    sessionStorage.setItem(KEY, key);
    void this.#watch();
  }

  /** The pace of a server, its devices and its cache are not a page's to change. */
  send(message: ToEngine): void {
    if (message.kind === 'load') void this.#watch();
    else if (message.kind === 'generate') void this.#generate(message.id, message.prompt, message.params);
    else if (message.kind === 'abort') this.#running.get(message.id)?.abort();
  }

  /** Follows the steps for as long as the page is open. */
  async #watch(): Promise<void> {
    if (this.#isWatching) return;
    this.#isWatching = true;
    for (;;) {
      try {
        const response = await this.fetch(new URL('../debug/steps', document.baseURI));
        if (response.status === 401) break;
        if (!response.ok) throw new Error(await errorMessage(response));
        for await (const { event, data } of serverSentEvents(response.body!)) this.#receive(event, data);
        throw new Error('The server has ended the connection.');
      } catch (error) {
        this.#tell({ kind: 'disconnected', message: error instanceof Error ? error.message : String(error) });
      }
      await new Promise(resolve => setTimeout(resolve, RETRY_MS));
    }
    this.#isWatching = false;
    this.#tell({ kind: 'locked' });
  }

  #receive(event: string, data: string): void {
    if (event === 'engine') this.#tell({ kind: 'ready', info: JSON.parse(data) as EngineInfo });
    else if (event === 'trace') this.#tell({ kind: 'trace', trace: this.#named(JSON.parse(data) as StepTrace) });
    else if (event === 'state') {
      const { running, waiting } = JSON.parse(data) as { running: number; waiting: number };
      if (running + waiting === 0) this.#tell({ kind: 'idle' });
    }
  }

  /** Requests of this page have the names that they have here. */
  #named(json: StepTrace): StepTrace {
    const trace = reviveTrace(json);
    this.#names.meet(trace.sequences.map(({ requestId }) => requestId));
    const named = <T extends { requestId: string }>(each: T): T[] => {
      const requestId = this.#names.nameOf(each.requestId);
      return requestId === null ? [] : [{ ...each, requestId }];
    };
    return { ...trace, batch: trace.batch.flatMap(named), sequences: trace.sequences.flatMap(named) };
  }

  async #generate(id: string, prompt: Prompt, params: SamplingParams): Promise<void> {
    const onNamed = (name: string) => this.#names.learn(name, id);
    const request = new ServerRequest({ id, prompt, params, apiUrl: this.apiUrl, fetch: this.fetch, onNamed });
    this.#running.set(id, request);
    this.#names.expect(id);
    await request.run(this.#tell);
    this.#running.delete(id);
    this.#names.ended(id);
  }
}
