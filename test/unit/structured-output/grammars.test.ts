/** Grammars against formulas written differently: JavaScript's own regular expressions, Ajv, and random walks under the masks. */
import { readFileSync } from 'node:fs';
import { EngineError, loadTokenizer, MemorySource } from '@quire/core';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GrammarService } from '../../../packages/core/src/structured-output/grammar-service.ts';
import { openGrammarThread } from '../../../packages/server/src/node/grammar-thread.ts';
import { accepts, bytes, EOS, randomOf, refusal, service, spec, VOCAB, walk } from './byte-grammars.ts';

afterAll(() => service.dispose());

describe('regular expressions', () => {
  test.each([
    ['a|bc', ['a', 'bc'], ['', 'ab', 'c']],
    ['^(?:ab)+c?$', ['ab', 'abab', 'ababc'], ['', 'a', 'abcc']],
    ['[^a-c]x', ['dx', ' x', '\u00e9x', '\u{1f600}x'], ['ax', 'x', 'bx']],
    ['\\d{2,3}-\\w*', ['12-', '123-ab_9'], ['1-', '1234-', '12-\u00e9']],
    ['.', ['a', '\u20ac', '\u{10ffff}', '"'], ['', '\n', 'ab']],
    ['\\u00e9[\\u4e00-\\u9fff]?', ['\u00e9', '\u00e9\u6f22'], ['e', '\u00e9a']],
    ['a{0}b{2}c{1,}', ['bbc', 'bbccc'], ['bb', 'abbc']],
    ['(?<year>\\d{4})\\.', ['2024.'], ['2024', '20245']],
    ['[\\]\\-^]+', ['-', ']^-'], ['\\', 'a']],
    ['\\x41\\u{1F98A}\\t', ['A\u{1f98a}\t'], ['A\u{1f98a}']],
    ['', [], []],
  ])('%s', async (pattern, inside, outside) => {
    if (pattern === '') return;
    const own = new RegExp(`^(?:${pattern})$`, 'u');
    for (const text of inside) {
      expect(own.test(text), text).toBe(true);
      expect(await accepts({ regex: pattern }, text), text).toBe(true);
    }
    for (const text of outside) {
      expect(own.test(text), text).toBe(false);
      expect(await accepts({ regex: pattern }, text), text).toBe(false);
    }
    for (let seed = 1; seed <= 3; seed++) {
      const text = await walk({ regex: pattern }, randomOf(seed));
      if (text !== null) expect(own.test(text), text).toBe(true);
    }
  });

  test.each([
    ['(a', /"\(" is not closed, at character 0/],
    ['a)', /"\)" has no opening bracket, at character 1/],
    ['[a', /"\[" is not closed/],
    ['a**b+c?+', /possessive/],
    ['*a', /"\*" has nothing to repeat/],
    ['(?=a)', /look-around/],
    ['(?<!a)b', /look-around/],
    ['\\1', /\\1 is not supported/],
    ['\\bx', /\\b is not supported/],
    ['\\p{L}', /\\p is not supported/],
    ['a{3,2}', /at least 3 and at most 2/],
    ['[z-a]', /has no order/],
    ['a^b', /\^ is only supported at the start/],
    ['(a$)b', /\$ is only supported at the end/],
    ['\\ud800', /names no character/],
    ['a\\', /ends with a backslash/],
    ['a{20000}', /repetitions above 10000/],
    ['((a{100}b){100}c){100}', /too large/],
    ['[^\\u0000-\\u{10ffff}]', /class of characters that is empty/],
  ])('%s is refused', async (pattern, message) => {
    expect(await refusal({ regex: pattern })).toMatch(message);
  });
});

const ajv = new Ajv2020({ strict: false, validateFormats: true });
addFormats.default(ajv);

/** Schemas with texts that are in the grammar and texts that are not. Every walk must be valid for Ajv. */
const schemas: [string, object | boolean, string[], string[]][] = [
  ['string', { type: 'string' }, ['""', '"a\\n\\u0001"', '"\u00e9\u{1f600}"'], ['a', '"\n"', '"\\x"', "'a'"]],
  ['string length', { type: 'string', minLength: 2, maxLength: 3 }, ['"ab"', '"\\n\\n\\n"'], ['"a"', '"abcd"']],
  ['pattern', { type: 'string', pattern: '^[a"\\\\]+$' }, ['"a"', '"\\"\\\\"'], ['"b"', '""', '"""']],
  ['open pattern', { type: 'string', pattern: '[a-m]$|^z' }, ['"xxb"', '"zx"', '"b"'], ['"bx"', '""']],
  ['dot', { type: 'string', pattern: '^.{2}$' }, ['"a\\""', '"\\\\\\t"'], ['"a\n"', '"a""']],
  ...['date', 'time', 'date-time', 'duration', 'uuid', 'ipv4', 'ipv6', 'hostname', 'email'].map(
    (format): [string, object, string[], string[]] => [format, { type: 'string', format }, [], ['""', '"x y"']],
  ),
  ['integer', { type: 'integer' }, ['0', '-7', '123456789012345'], ['01', '1.5', '-', '+1', '1e3']],
  [
    'integer range',
    { type: 'integer', minimum: -12, maximum: 305 },
    ['-12', '0', '305', '99'],
    ['-13', '306', '00', '-0'],
  ],
  [
    'safe integers',
    { type: 'integer', minimum: -(2 ** 53) + 1, maximum: 2 ** 53 - 1 },
    ['0', '-999999999999999'],
    ['1.0', '01'],
  ],
  ['numbers below a bound that none reaches', { type: 'number', maximum: 1e15 }, ['0.5', '-7'], ['1e99']],
  ['integer above', { type: 'integer', exclusiveMinimum: 97.5 }, ['98', '100', '1000'], ['97', '0', '-98']],
  ['integer below', { type: 'integer', exclusiveMaximum: -10 }, ['-11', '-100'], ['-10', '0', '11']],
  ['number', { type: 'number' }, ['0', '-1.5e-7', '2.50'], ['.5', '1.', '1e', 'NaN']],
  [
    'number range',
    { type: 'number', minimum: -1, maximum: 10 },
    ['-1', '-0.5', '9.99', '10', '10.0', '0'],
    ['10.1', '-1.1', '11'],
  ],
  [
    'open number range',
    { type: 'number', exclusiveMinimum: 0, exclusiveMaximum: 1 },
    ['0.5', '0.01'],
    ['0', '0.0', '1', '1.0'],
  ],
  [
    'negative numbers',
    { type: 'number', exclusiveMinimum: -3, maximum: -2 },
    ['-2', '-2.0', '-2.9'],
    ['-3', '-3.0', '-1.9', '2'],
  ],
  ['numbers above', { type: 'number', minimum: 20 }, ['20', '20.0', '99.5', '100'], ['19.9', '2', '-20']],
  ['boolean or null', { type: ['boolean', 'null'] }, ['true', 'null'], ['"true"', 'nul']],
  ['enum', { enum: ['a', 1, null, { b: [2] }] }, ['"a"', '1', '{"b":[2]}'], ['2', '"b"']],
  ['enum of a type', { type: 'string', enum: ['a', 1] }, ['"a"'], ['1']],
  ['const', { const: 'x"y' }, ['"x\\"y"'], ['"x"']],
  [
    'array',
    { type: 'array', items: { type: 'integer' } },
    ['[]', '[1]', '[1, 2,3]', '[\n 1]'],
    ['[,]', '[1,]', '["a"]'],
  ],
  [
    'array counts',
    { type: 'array', items: { const: 1 }, minItems: 2, maxItems: 3 },
    ['[1,1]', '[1,1,1]'],
    ['[]', '[1]', '[1,1,1,1]'],
  ],
  ['at most one', { type: 'array', items: { const: 1 }, maxItems: 1 }, ['[]', '[1]'], ['[1,1]']],
  ['none', { type: 'array', maxItems: 0 }, ['[]'], ['[1]']],
  [
    'tuple',
    { type: 'array', prefixItems: [{ const: 1 }, { const: 2 }], items: false, minItems: 1 },
    ['[1]', '[1,2]'],
    ['[]', '[2]', '[1,2,3]'],
  ],
  [
    'tuple and more',
    { type: 'array', prefixItems: [{ const: 1 }], items: { const: 2 }, minItems: 2, maxItems: 3 },
    ['[1,2]', '[1,2,2]'],
    ['[1]', '[1,2,2,2]', '[2,2]'],
  ],
  [
    'object',
    { type: 'object', properties: { a: { const: 1 }, b: { const: 2 }, c: { const: 3 } }, required: ['b'] },
    ['{"b":2}', '{"a":1,"b":2}', '{ "b" : 2 , "c":3 }', '{"a":1,"b":2,"c":3}'],
    ['{}', '{"a":1}', '{"b":2,"a":1}', '{"b":2,}', '{"d":1,"b":2}', '{"b":2,"b":2}'],
  ],
  [
    'all optional',
    { properties: { a: { const: 1 }, b: { const: 2 } } },
    ['{}', '{"a":1}', '{"b":2}', '{"a":1,"b":2}'],
    ['{,}', '{"a":1,}'],
  ],
  ['map', { type: 'object', additionalProperties: { type: 'integer' } }, ['{}', '{"x":1,"y":2}'], ['{"x":"a"}']],
  [
    'map beside a property',
    {
      type: 'object',
      properties: { ab: { const: 1 }, a: { const: 3 } },
      additionalProperties: { const: 2 },
      required: ['ab'],
    },
    ['{"ab":1}', '{"ab":1,"abc":2,"b":2,"":2}', '{"ab":1,"a":3}'],
    ['{"ab":2}', '{"ab":1,"ab":2}', '{"ab":1,"a":2}', '{}'],
  ],
  ['required only', { type: 'object', required: ['x'] }, ['{"x":1}', '{"x":[],"y":0}'], ['{}', '{"y":1}']],
  ['anyOf', { anyOf: [{ type: 'string', maxLength: 1 }, { type: 'null' }] }, ['null', '"a"'], ['"ab"', '1']],
  [
    'anyOf beside keywords',
    {
      type: 'object',
      properties: { a: { const: 1 }, b: { const: 2 } },
      anyOf: [{ required: ['a'] }, { required: ['b'] }],
    },
    ['{"a":1}', '{"b":2}', '{"a":1,"b":2}'],
    ['{}'],
  ],
  ['oneOf by kind', { oneOf: [{ type: 'string', maxLength: 1 }, { type: 'integer' }] }, ['"a"', '4'], ['null']],
  [
    'oneOf by property',
    {
      oneOf: [{ type: 'object', properties: { k: { const: 'a' } }, required: ['k'] }, { $ref: '#/$defs/b' }],
      $defs: { b: { type: 'object', properties: { k: { const: 'b' }, n: { const: 1 } }, required: ['k'] } },
    },
    ['{"k":"a"}', '{"k":"b","n":1}'],
    ['{"k":"a","n":1}', '{}'],
  ],
  [
    'allOf',
    {
      allOf: [{ $ref: '#/$defs/a' }, { properties: { b: { const: 2 } }, required: ['b'] }],
      $defs: { a: { type: 'object', properties: { a: { const: 1 } }, required: ['a'] } },
    },
    ['{"a":1,"b":2}'],
    ['{"a":1}', '{"b":2}'],
  ],
  [
    'recursion',
    {
      $ref: '#/$defs/node',
      $defs: {
        node: {
          type: 'object',
          properties: { next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] } },
          required: ['next'],
        },
      },
    },
    ['{"next":null}', '{"next":{"next":null}}'],
    ['{}', 'null'],
  ],
  ['anything', true, ['{"a":[1,{"b":null}]}', '"x"', '-1.5', 'true'], ['{a:1}', '']],
]; // prettier-ignore

describe('JSON schemas', () => {
  test.each(schemas)('%s', async (_, schema, inside, outside) => {
    const validate = ajv.compile(schema);
    for (const text of inside) {
      expect(validate(JSON.parse(text)), text).toBe(true);
      expect(await accepts({ json: schema }, text), text).toBe(true);
    }
    for (const text of outside) expect(await accepts({ json: schema }, text), text).toBe(false);
    let ended = 0;
    for (let seed = 1; seed <= 6; seed++) {
      const text = await walk({ json: schema }, randomOf(seed * 77));
      if (text === null) continue;
      ended++;
      expect(validate(JSON.parse(text)), text).toBe(true);
    }
    expect(ended).toBeGreaterThan(0);
  });

  test('strictness and white space are settings', async () => {
    const json = { type: 'object', properties: { a: { const: 1 } } };
    expect(await accepts({ json }, '{"a":1,"b":2}')).toBe(false);
    expect(await accepts({ json, disableAdditionalProperties: false }, '{"a":1,"b":2}')).toBe(true);
    expect(await accepts({ json, disableAnyWhitespace: true }, '{"a": 1}')).toBe(true);
    expect(await accepts({ json, disableAnyWhitespace: true }, '{"a":1}')).toBe(false);
    expect(await accepts({ json, disableAnyWhitespace: true }, '{ "a": 1}')).toBe(false);
  });

  test.each([
    [{ type: 'wizard' }, 'json.type must be one or several of'],
    [{ type: 'string', uniqueStrings: true }, 'json has the keyword "uniqueStrings", which is not supported'],
    [{ not: {} }, 'has the keyword "not"'],
    [{ type: 'array', uniqueItems: true }, 'json.uniqueItems is not supported'],
    [{ type: 'object', patternProperties: {} }, 'keyword "patternProperties"'],
    [{ type: 'integer', multipleOf: 5 }, 'json.multipleOf is not supported'],
    [{ type: 'integer', minimum: 5, maximum: 3 }, 'accepts nothing'],
    [{ type: 'number', minimum: 0.5 }, 'a bound that is no integer'],
    [{ type: 'integer', minimum: 1e20 }, 'accepts only numbers beyond 10^15'],
    [{ type: 'string', minLength: 5, maxLength: 3 }, 'accepts nothing'],
    [{ type: 'string', minLength: -1 }, 'json.minLength must be a whole number'],
    [{ type: 'string', maxLength: 1e6 }, 'counts beyond 10000'],
    [{ type: 'string', pattern: '(' }, 'json.pattern has a pattern that cannot be used'],
    [{ type: 'string', pattern: 'a', maxLength: 3 }, 'a length beside a pattern'],
    [{ type: 'string', format: 'phone' }, '"phone" is not supported; known are date'],
    [{ enum: [] }, 'json.enum must be a list of at least one value'],
    [{ enum: ['a'], type: 'integer' }, 'no constant is of the type'],
    [{ $ref: 'http://x/y' }, 'must be a reference within the schema'],
    [{ $ref: '#/$defs/none' }, 'names nothing'],
    [{ $ref: '#' }, 'leads back to itself'],
    [{ anyOf: [{ $ref: '#' }, { $ref: '#' }] }, 'leads back to itself'],
    [{ $defs: { a: { allOf: [{ $ref: '#/$defs/a' }] } }, $ref: '#/$defs/a' }, 'leads back to itself'],
    [{ allOf: [{ type: 'string' }, { type: 'integer' }] }, 'combines schemas that both have "type"'],
    [{ oneOf: [{ type: 'integer' }, { type: 'number' }] }, 'may accept one value by options 0 and 1'],
    [{ anyOf: [] }, 'json.anyOf must be a list of schemas'],
    [{ anyOf: [{}], oneOf: [{}] }, 'both anyOf and oneOf'],
    [{ type: 'object', properties: { a: 5 } }, 'json.properties.a must be a schema, got 5'],
    [{ type: 'object', properties: { a: false } }, 'json.properties.a accepts nothing'],
    [{ type: 'object', properties: {}, required: ['a'] }, 'names the property "a", which the schema does not allow'],
    [{ type: 'object', required: 'a' }, 'json.required must be a list of names'],
    [{ type: 'array', prefixItems: [], items: false, minItems: 1 }, 'accepts nothing'],
    [false, 'json accepts nothing'],
  ])('%j is refused', async (json, message) => {
    expect(await refusal({ json })).toContain(message);
  });

  test('text that is no JSON, or nested beyond all measure', async () => {
    expect(await refusal({ json: '{' })).toContain('json is not JSON');
    expect(await refusal({ json: `${'{"not":'.repeat(300)}1${'}'.repeat(300)}` })).toContain('nested more than');
    expect(await refusal({ json: `[${'{},'.repeat(5000)}1]` })).toContain('more than 4096 objects');
    expect(await refusal({ json: '[1]' })).toContain('must be a schema');
  });
});

describe('the threads', () => {
  test('a grammar that breaks one leaves the others matching', async () => {
    const running = await service.start(spec({ regex: 'a{6}' }));
    await running.accept(0x61);
    const bad = [
      'root ::= (',
      'x ::= "a"',
      `root ::= ${'('.repeat(20_000)}"a"${')'.repeat(20_000)}`,
      'root ::= nothing',
    ];
    for (const grammar of bad)
      expect(await refusal({ grammar })).toMatch(/^structured_outputs.grammar cannot be used: ./);
    await running.accept(0x61);
    expect(running.mask![3]! & 2).toBe(2);
    running.close();
  });

  test('sessions go on when the thread they were on is lost', async () => {
    let lose: () => void = () => {};
    const fragile = new GrammarService({
      open: () => {
        const port = openGrammarThread();
        return {
          ...port,
          listen(onAnswer, onGone) {
            lose = () => onGone('the test ends it');
            port.listen(onAnswer, onGone);
          },
        };
      },
      tokenizer: bytes,
      vocabSize: VOCAB,
      eosTokenIds: [EOS],
    });
    const sessions = await Promise.all([1, 2, 3].map(() => fragile.start(spec({ regex: '(ab)+c' }))));
    for (const session of sessions) await session.accept(0x61);
    // Nothing is asked: the loss is noticed with the next question, which tells the new thread all tokens.
    lose();
    await Promise.all(sessions.map(session => session.accept(0x62)));
    for (const { mask } of sessions) expect([mask![3]! & 2, mask![3]! & 4, mask![3]! & 8]).toEqual([2, 0, 8]);
    // The oldest question is to blame, the others are asked again.
    const asked = sessions.map(session => session.accept(0x61));
    lose();
    const settled = await Promise.allSettled(asked);
    expect(settled.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled']);
    await fragile.dispose();
  });

  test('without a thread the engine is to blame, not the request, and the next request tries again', async () => {
    let opened = 0;
    const without = new GrammarService({
      open: () => {
        opened++;
        const close = async () => {};
        return { post: () => {}, listen: (_, onGone) => void setTimeout(() => onGone('there is none')), close };
      },
      tokenizer: bytes,
      vocabSize: VOCAB,
      eosTokenIds: [EOS],
    });
    for (let i = 1; i <= 2; i++) {
      const error = await without.start(spec({ regex: 'a' })).catch((cause: unknown) => cause);
      expect(error).toBeInstanceOf(EngineError);
      expect((error as Error).message).toBe(
        'The thread that matches grammars cannot be started: its thread ended: there is none',
      );
      expect(opened).toBe(i);
    }
  });

  test('a grammar that takes too long is refused in time', async () => {
    const hasty = new GrammarService({
      open: openGrammarThread,
      tokenizer: bytes,
      vocabSize: VOCAB,
      eosTokenIds: [EOS],
      budgetMs: 300,
    });
    const started = performance.now();
    const grammar = 'root ::= (("a"{1,1000}){1,1000}){1,1000}';
    await expect(hasty.prepare(spec({ grammar }))).rejects.toThrow(/cannot be used: it takes more than 0.3 s/);
    expect(performance.now() - started).toBeLessThan(30_000);
    await hasty.dispose();
  });

  test('an answer that came while this thread was held up is no refusal', async () => {
    let heldUpFor = 0;
    const hasty = new GrammarService({
      open: () => {
        const port = openGrammarThread();
        return {
          ...port,
          post(question) {
            port.post(question);
            const until = performance.now() + heldUpFor;
            while (performance.now() < until);
          },
        };
      },
      tokenizer: bytes,
      vocabSize: VOCAB,
      eosTokenIds: [EOS],
      budgetMs: 500,
    });
    await hasty.prepare(spec({ regex: 'a' }));
    // In the part of the loop's turn behind which timers that are due come before what has arrived.
    await new Promise(resolve => setImmediate(resolve));
    heldUpFor = 1500;
    await hasty.prepare(spec({ regex: 'b' }));
    await hasty.dispose();
  });
});

test('a real vocabulary: tokens of several bytes, halves of characters, special tokens', async () => {
  const folder = new URL('../../../models/tiny-llama/', import.meta.url);
  const names = ['tokenizer.json', 'tokenizer_config.json'];
  const tokenizer = await loadTokenizer(
    new MemorySource(new Map(names.map(name => [name, readFileSync(new URL(name, folder))]))),
  );
  const real = new GrammarService({ open: openGrammarThread, tokenizer, vocabSize: 1024, eosTokenIds: [2] });
  const session = await real.start(spec({ choice: ['\u{1f98a} the fox', '<|im_start|>'] }));
  const taken = tokenizer.encode('\u{1f98a} the fox', { addSpecialTokens: false });
  for (const id of taken) {
    expect((session.mask![id >>> 5]! >>> (id & 31)) & 1).toBe(1);
    for (const special of tokenizer.specialTokenIds)
      expect((session.mask![special >>> 5]! >>> (special & 31)) & 1).toBe(0);
    await session.accept(id);
  }
  expect(session.mask![0]).toBe(1 << 2);
  await real.dispose();
});
beforeAll(() => service.prepare(spec({ choice: ['warm'] })));
