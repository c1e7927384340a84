/** The document at /openapi.json against the server that it describes. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openApiDocument } from '../../packages/server/src/openapi/describe.ts';
import { operationNotes } from '../../packages/server/src/openapi/operations.ts';
import { startFakeServer } from './fake-server.ts';
import { startTinyServer, type TinyServer } from './tiny-server.ts';

interface Schema {
  properties: Record<string, { type?: unknown; minimum?: number; maximum?: number }>;
}
interface Operation {
  operationId: string;
  summary: string;
  security?: unknown[];
  requestBody?: { content: { 'application/json': { schema: Schema; examples: Record<string, { value: object }> } } };
}
interface Document {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
}

let tiny: TinyServer;
let document: Document;
beforeAll(async () => {
  tiny = await startTinyServer();
  document = (await (await fetch(`${tiny.origin}/openapi.json`)).json()) as Document;
});
afterAll(() => tiny.server.close(0));

const post = (path: string, body: object) =>
  fetch(tiny.origin + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
const examples = Object.entries(operationNotes).flatMap(([operation, { examples = {} }]) =>
  Object.entries(examples).map(([name, body]) => [operation.replace('POST ', ''), name, body] as const),
);

describe('the document', () => {
  it('is of OpenAPI 3.1, and has every route', async () => {
    const { app, server } = await startFakeServer(async function* () {});
    expect(document.openapi).toBe('3.1.0');
    for (const { method, path } of app.routes.operations) {
      const operation = document.paths[path.replace('*', '{id}')]?.[method.toLowerCase()];
      expect([method, path, typeof operation?.summary]).toEqual([method, path, 'string']);
    }
    const known = app.routes.operations.map(({ method, path }) => `${method} ${path}`);
    expect(Object.keys(operationNotes).filter(name => !known.includes(name))).toEqual([]);
    expect(JSON.parse(JSON.stringify(openApiDocument(app.routes, ['/health', '/live'])))).toEqual(document);
    await server.close(0);
  });

  it('names each operation once, and says which need no key', () => {
    const operations = Object.values(document.paths).flatMap(methods => Object.values(methods));
    expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length);
    const open = Object.entries(document.paths).filter(([, { get }]) => get?.security?.length === 0);
    expect(open.map(([path]) => path)).toEqual(['/health', '/live']);
  });

  it('has a schema of every field', () => {
    for (const path of ['/v1/chat/completions', '/v1/completions', '/v1/responses']) {
      const { schema } = document.paths[path]!.post!.requestBody!.content['application/json'];
      expect(Object.keys(schema.properties).length).toBeGreaterThan(30);
      expect(Object.values(schema.properties).filter(property => property === undefined)).toEqual([]);
    }
  });
});

describe('each example', () => {
  const ajv = new Ajv2020({ strict: false });
  addFormats.default(ajv);

  it.each(examples)('of %s (%s) fits its schema and is answered', async (path, name, body) => {
    const { schema, examples: shown } = document.paths[path]!.post!.requestBody!.content['application/json'];
    expect(shown[name]!.value).toEqual(body);
    expect([ajv.validate(schema, body), ajv.errors]).toEqual([true, null]);
    const answer = await post(path, body);
    const text = await answer.text();
    expect([answer.status, text.includes('"error":{')]).toEqual([200, false]);
    expect(answer.headers.get('x-quire-ignored-fields')).toBeNull();
  });
});

describe('what the document says of numbers', () => {
  const body = {
    '/v1/chat/completions': { messages: [{ role: 'user', content: 'a' }] },
    '/v1/completions': { prompt: 'a' },
  };

  it.each(['/v1/chat/completions', '/v1/completions'] as const)('%s: beyond a bound is 400', async path => {
    const { schema } = document.paths[path]!.post!.requestBody!.content['application/json'];
    let bounds = 0;
    for (const [field, { type, minimum, maximum }] of Object.entries(schema.properties)) {
      const wrong = [minimum === undefined ? [] : minimum - 1, maximum === undefined ? [] : maximum + 1].flat();
      if (type === undefined) continue;
      for (const value of wrong) {
        const answer = await post(path, { ...body[path], max_tokens: 1, [field]: value });
        expect([field, value, answer.status]).toEqual([field, value, 400]);
        bounds++;
      }
    }
    expect(bounds).toBeGreaterThan(15);
  });
});
