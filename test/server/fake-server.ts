import type { Tokenizer } from '@quire/core';
import { type Logger, pino } from 'pino';
import type { App } from '../../packages/server/src/app/app.ts';
import { type AppOptions, createApp } from '../../packages/server/src/app/create-app.ts';
import { Metrics } from '../../packages/server/src/metrics/metrics.ts';
import { HttpServer, type HttpServerOptions } from '../../packages/server/src/serve/http-server.ts';
import { characterTokenizer, FakeEngine, type Script } from './fake-engine.ts';

export interface FakeServer {
  app: App;
  engine: FakeEngine;
  server: HttpServer;
  port: number;
  origin: string;
}

/** The whole HTTP side over an engine that follows a script. */
export async function startFakeServer(
  script: Script,
  options: Partial<AppOptions & HttpServerOptions> & { tokenizer?: Tokenizer; log?: Logger } = {},
): Promise<FakeServer> {
  const engine = new FakeEngine(script);
  const metrics = new Metrics(engine, 'fake', { enableLora: true, maxLoras: 2 });
  const { log = pino({ level: 'silent' }) } = options;
  const app = createApp(
    { engine, tokenizer: options.tokenizer ?? characterTokenizer, metrics, log },
    { modelNames: ['fake'], ...options },
  );
  const server = new HttpServer(app, {
    host: '127.0.0.1',
    port: 0,
    apiKeys: [],
    onExchange: exchange => metrics.http.observe(exchange),
    ...options,
  });
  const port = await server.listen();
  return { app, engine, server, port, origin: `http://127.0.0.1:${port}` };
}
