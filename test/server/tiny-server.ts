import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';
import { type RunningServer, type ServerOptions, startServer } from '../../packages/server/src/index.ts';

export const tinyLlama = fileURLToPath(new URL('../../models/tiny-llama', import.meta.url));

export interface GoldenCase {
  name: string;
  prompt: string;
  promptTokenIds: number[];
  maxTokens: number;
  tokenIds: number[];
  text: string;
  tokenLogprobs: number[];
  promptLogprobs: (number | null)[];
}

const golden = JSON.parse(readFileSync(`${tinyLlama}/golden.json`, 'utf8')) as { cases: GoldenCase[] };

/** A case of golden.json, whose greedy tokens every device must give. */
export function goldenCase(name: string): GoldenCase {
  const found = golden.cases.find(c => c.name === name);
  if (found === undefined) throw new Error(`golden.json has no case ${name}`);
  return found;
}

export interface TinyServer {
  server: RunningServer;
  origin: string;
  client: OpenAI;
}

/** A server on tiny-llama and the reference device, on a free port. */
export async function startTinyServer(options: Partial<ServerOptions> = {}): Promise<TinyServer> {
  const server = await startServer({
    model: tinyLlama,
    device: 'reference',
    port: 0,
    servedModelName: 'tiny',
    ...options,
  });
  const origin = `http://127.0.0.1:${server.port}`;
  return { server, origin, client: new OpenAI({ baseURL: `${origin}/v1`, apiKey: 'none', maxRetries: 0 }) };
}
