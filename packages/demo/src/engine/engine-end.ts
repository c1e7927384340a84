import type { FromEngine, ToEngine } from './messages.ts';

/** Where the engine is, and the way to it. */
export interface EngineEnd {
  /** `tab`: this page has the engine for itself. `server`: others use it too, and only its steps are seen. */
  readonly kind: 'tab' | 'server';
  /** Of its OpenAI API, with a slash at the end. */
  readonly apiUrl: URL;
  send(message: ToEngine): void;
  /** To be called once, before anything is sent. */
  listen(tell: (message: FromEngine) => void): void;
  /** As the page's, but for what the engine answers. */
  readonly fetch: typeof fetch;
  /** The key that a locked server wants. */
  unlock?(key: string): void;
}
