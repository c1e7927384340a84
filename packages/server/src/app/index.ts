/** The OpenAI-compatible HTTP surface over an engine, without sockets: for a browser tab, a worker, or a test. */
export { App } from './app.ts';
export type { AppLog, Exposition, ServingEngine, ServingTokenizer } from './context.ts';
export { type AppOptions, type AppParts, createApp } from './create-app.ts';
