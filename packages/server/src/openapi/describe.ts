import * as z from 'zod/mini';
import type { Router } from '../http/router.ts';
import { version } from '../version.ts';
import { type OperationNote, operationNotes } from './operations.ts';
import { passedFields } from './passed-fields.ts';

const errorSchema = {
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['message', 'type', 'param', 'code'],
      properties: {
        message: { type: 'string' },
        type: { type: 'string' },
        param: { type: ['string', 'null'], description: 'The field at fault.' },
        code: { type: ['string', 'null'] },
      },
    },
  },
};

/**
 * An OpenAPI 3.1 document of the routes. Bodies come from the schemas that check them, and paths from the router, so that it says
 * what the server does. `open`: paths that need no key.
 */
export function openApiDocument(routes: Router, open: readonly string[]): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const { method, path } of routes.operations) {
    const shown = path.replace('*', '{id}');
    paths[shown] ??= {};
    paths[shown][method.toLowerCase()] = operation(method, path, open.includes(path));
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Quire', version, description: 'An OpenAI-compatible server.', license: { name: 'Apache-2.0' } },
    servers: [{ url: '/' }],
    security: [{ key: [] }],
    paths,
    components: {
      securitySchemes: { key: { type: 'http', scheme: 'bearer' } },
      schemas: { Error: errorSchema },
      responses: {
        Error: {
          description: 'What was wrong.',
          content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
        },
      },
    },
  };
}

function operation(method: string, path: string, isOpen: boolean): object {
  const note = operationNotes[`${method} ${path}`] ?? { summary: `${method} ${path}` };
  const parameters = [
    ...(path.includes('*') ? [{ name: 'id', in: 'path', required: true, schema: { type: 'string' } }] : []),
    ...(note.query ?? []).map(name => ({ name, in: 'query', schema: { type: 'string' } })),
  ];
  return {
    operationId: operationId(method, path),
    summary: note.summary,
    ...(isOpen ? { security: [] } : {}),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(note.body === undefined ? {} : { requestBody: requestBody(note) }),
    responses: { 200: success(note), default: { $ref: '#/components/responses/Error' } },
  };
}

/** Such as postV1ChatCompletions. */
function operationId(method: string, path: string): string {
  const words = path.replaceAll('*', 'id').split(/\W+|_/).filter(Boolean);
  return method.toLowerCase() + words.map(word => word[0]!.toUpperCase() + word.slice(1)).join('');
}

function requestBody({ body, examples = {} }: OperationNote): object {
  const shown = Object.entries(examples).map(([name, value]) => [name, { value }]);
  return {
    required: true,
    content: { 'application/json': { schema: bodySchema(body!), examples: Object.fromEntries(shown) } },
  };
}

function bodySchema({ fields, passed }: NonNullable<OperationNote['body']>): object {
  const options = { io: 'input', unrepresentable: 'any' } as const;
  const { $schema: _, properties, ...schema } = z.toJSONSchema(fields as z.ZodMiniType, options);
  const others = passed.map(name => [name, passedFields[name as keyof typeof passedFields]]);
  return { ...schema, properties: { ...Object.fromEntries(others), ...properties } };
}

function success({ answer = 'application/json', body }: OperationNote): object {
  const isStreamed = (body?.fields as { shape?: object } | undefined)?.shape;
  const events = isStreamed && 'stream' in isStreamed ? { 'text/event-stream': { schema: { type: 'string' } } } : {};
  const schema = { type: answer === 'application/json' ? ['object', 'array'] : 'string' };
  return { description: 'Done.', content: { [answer]: { schema }, ...events } };
}
