/** Constraints made to break or to stall a server: each is a 400 within the budget of a grammar, and a stream beside them is unharmed. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTinyServer, type TinyServer } from './tiny-server.ts';

let tiny: TinyServer;
beforeAll(async () => {
  tiny = await startTinyServer();
});
afterAll(() => tiny.server.close(0));

/** The budget of a grammar is 5 s; the machine may be busy. */
const BOUND_MS = 15_000;

const nested = (depth: number, inner: unknown): unknown => {
  let schema = inner;
  for (let i = 0; i < depth; i++) schema = { type: 'object', properties: { a: schema }, required: ['a'] };
  return schema;
};
const many = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
const keys = (count: number, make: (i: number) => unknown) =>
  Object.fromEntries(many(count, i => [`property number ${i}`, make(i)]));
const doubling = (levels: number) => ({
  $defs: Object.fromEntries(
    many(levels, i => [
      `d${i}`,
      i === levels - 1
        ? { properties: { z: {} } }
        : { allOf: [{ anyOf: [{ $ref: `#/$defs/d${i + 1}` }, { $ref: `#/$defs/d${i + 1}` }] }], required: ['z'] },
    ]),
  ),
  $ref: '#/$defs/d0',
});

const patterns: string[] = [
  '(',
  ')',
  '[',
  '(?',
  '(?<',
  '(?<a',
  '*',
  '+',
  '?',
  '{1,2}',
  'a**+',
  'a{2,1}',
  '[z-a]',
  '[a-',
  '\\',
  'a\\',
  '\\u12',
  '\\x1',
  '\\u{110000}',
  '\\ud800',
  '(?=a)',
  '(?!a)',
  '(?<=a)',
  '(?<!a)',
  '(?i)a',
  '\\1',
  '(a)\\1',
  '\\k<a>',
  '\\bword',
  '\\B',
  '\\p{L}+',
  'a++',
  '(?>a)',
  '^a^',
  'a$b',
  '(a$)',
  '(^a)b$c',
  'a{10001}',
  'a{999999}',
  '(a{1000}){1000}',
  '((a{100}b){100}c){100}',
  '(((ab){9}){9}){9999}',
  `${'(a|'.repeat(200)}b${')'.repeat(200)}`,
  `${'('.repeat(30_000)}a${')'.repeat(30_000)}`,
  '[^\\u0000-\\u{10ffff}]',
  'a\0b',
  `${'(ab{0,99}c){9}'.repeat(300)}`,
]; // prettier-ignore

const schemas: unknown[] = [
  5,
  [],
  false,
  '{',
  '[[[[',
  '{"type":',
  { type: 'wizard' },
  { type: [] },
  { type: ['string', 5] },
  { type: { type: 'string' } },
  { $ref: '#' },
  { $ref: '#/$defs/a' },
  { $ref: 'file:///etc/passwd' },
  { $ref: 'http://127.0.0.1/' },
  { $ref: 5 },
  { $ref: '#/__proto__' },
  { $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } }, $ref: '#/$defs/a' },
  { allOf: [{ $ref: '#' }] },
  { anyOf: [{ $ref: '#' }] },
  { oneOf: [{ $ref: '#' }, { $ref: '#' }] },
  { $defs: { a: { type: 'object', allOf: [{ anyOf: [{ $ref: '#/$defs/a' }] }] } }, $ref: '#/$defs/a' },
  JSON.stringify(nested(100, {})),
  JSON.stringify(nested(1000, {})),
  nested(3, { type: 'array', items: { not: {} } }),
  doubling(40),
  { anyOf: many(5000, () => ({})) },
  { properties: keys(3000, () => ({ type: 'string', minLength: 1, maxLength: 9000 })) },
  { enum: [] },
  { enum: 5 },
  { const: 'a', type: 'integer' },
  { enum: many(5000, i => [i]) },
  { type: 'string', minLength: -1 },
  { type: 'string', minLength: 1e9 },
  { type: 'string', minLength: 2, maxLength: 1 },
  { type: 'string', maxLength: 1.5 },
  { type: 'string', pattern: '(a+)+(' },
  { type: 'string', pattern: '(?=x)' },
  { type: 'string', pattern: 5 },
  { type: 'string', pattern: '(a{999}){999}' },
  { type: 'string', format: 5 },
  { type: 'string', format: 'regex' },
  { type: 'array', minItems: 1e6 },
  { type: 'array', minItems: 2, maxItems: 1 },
  { type: 'array', uniqueItems: true },
  { type: 'array', contains: {} },
  { type: 'array', items: 5 },
  { type: 'integer', minimum: 1e300 },
  { type: 'integer', minimum: 2, maximum: 1 },
  { type: 'integer', multipleOf: 1e-9 },
  { type: 'number', minimum: 0.1 },
  { type: 'integer', minimum: '1' },
  { type: 'object', properties: 5 },
  { type: 'object', properties: { a: 5 } },
  { type: 'object', required: 5 },
  { type: 'object', required: [5] },
  { type: 'object', required: ['a'], properties: {} },
  { type: 'object', patternProperties: { '(a+)+$': {} } },
  { type: 'object', propertyNames: { pattern: '(a+)+$' } },
  { if: {}, else: {} },
  { not: {} },
  { dependentRequired: {} },
  { unheard: 1 },
]; // prettier-ignore

const grammars: string[] = [
  'root ::= (',
  'root ::= "a',
  'root ::= [a',
  'root',
  '::=',
  'x ::= "a"',
  'root ::= nothing',
  'root ::= "a" |||',
  'root := "a"',
  'root ::= "a"{3,2}',
  'root ::= "\\q"',
  `root ::= ${'('.repeat(20_000)}"a"${')'.repeat(20_000)}`,
  'root ::= (("a"{1,1000}){1,1000}){1,1000}',
  'root ::= a\na ::= b\nb ::= a',
  'root ::= root',
]; // prettier-ignore

async function send(constraint: object): Promise<{ status: number; param: unknown; ms: number; message: string }> {
  const started = performance.now();
  const body = JSON.stringify({ prompt: 'a', max_tokens: 2, structured_outputs: constraint });
  const response = await fetch(`${tiny.origin}/v1/completions`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json' },
  });
  const answer = (await response.json()) as { error?: { param: unknown; message: string } };
  return {
    status: response.status,
    param: answer.error?.param,
    message: answer.error?.message ?? '',
    ms: performance.now() - started,
  };
}

it('more than 100 hostile constraints', async () => {
  const hostile: object[] = [
    ...patterns.map(regex => ({ regex })),
    ...schemas.map(json => ({ json })),
    ...grammars.map(grammar => ({ grammar })),
  ];
  expect(hostile.length).toBeGreaterThan(100);
  const story = { prompt: 'Once upon a time', temperature: 0, max_tokens: 400, ignore_eos: true };
  const tell = async () => {
    const response = await fetch(`${tiny.origin}/v1/completions`, {
      method: 'POST',
      body: JSON.stringify(story),
      headers: { 'content-type': 'application/json' },
    });
    return ((await response.json()) as { choices: { text: string }[] }).choices[0]!.text;
  };
  const alone = await tell();
  const beside = tell();
  const times: number[] = [];
  const accepted: string[] = [];
  for (const constraint of hostile) {
    const { status, param, ms, message } = await send(constraint);
    const shown = `${JSON.stringify(constraint).slice(0, 100)}: ${status} ${message.slice(0, 200)}`;
    if (status !== 400 || param !== 'structured_outputs') accepted.push(shown);
    expect(message.length, shown).toBeLessThan(600);
    expect(ms, shown).toBeLessThan(BOUND_MS);
    times.push(ms);
  }
  expect(accepted).toEqual([]);
  expect(await beside).toBe(alone);
  times.sort((a, b) => a - b);
  console.log(
    `${hostile.length} hostile constraints refused: median ${times[times.length >> 1]!.toFixed(1)} ms, longest ${times.at(-1)!.toFixed(0)} ms`,
  );
  expect((await send({ choice: ['alive'] })).status).toBe(200);
});

/** They stall engines that backtrack; here they are automata like any other. */
it.each(['(a+)+b', '(a|a)*b', '(a*)*b', '([a-z]+)*!', '(.*a){12}', '(x+x+)+y', '(a|aa)+$', '(\\w+\\s?)*$'])(
  '%s is answered in time',
  async regex => {
    const { status, ms } = await send({ regex });
    expect(status).toBe(200);
    expect(ms).toBeLessThan(BOUND_MS);
  },
);
