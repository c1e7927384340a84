import { afterAll, describe, expect, test } from 'vitest';
import { toGrammar } from '../../../packages/core/src/structured-output/to-grammar.ts';
import { accepts, randomOf, refusal, service, spec, walk } from './byte-grammars.ts';

afterAll(() => service.dispose());

const tagged = (format: unknown) => ({ structuralTag: { type: 'structural_tag', format } as object });
const string = (value: string) => ({ type: 'const_string', value });
const schema = (json: unknown) => ({ type: 'json_schema', json_schema: json });
const tag = (begin: string, content: unknown, end: string) => ({ type: 'tag', begin, content, end });
const number = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] };

describe('structural tags', () => {
  test.each<[string, unknown, string[], string[]]>([
    ['text', string('a"\n\u00e9'), ['a"\n\u00e9'], ['', 'a']],
    ['JSON', schema({ enum: ['x', 1] }), ['"x"', '1'], ['x', '2']],
    ['a pattern', { type: 'regex', pattern: '[ab]{2}' }, ['ab'], ['a', 'abc']],
    ['a sequence', { type: 'sequence', elements: [string('a'), schema(true), string('b')] }, ['a[1]b'], ['a b', 'ab']],
    ['a choice', { type: 'or', elements: [string('ab'), string('ac'), string('')] }, ['ab', 'ac', ''], ['a', 'abac']],
    ['a tag', tag('<f>', schema(number), '</f>'), ['<f>{"a": 1}</f>'], ['<f>{}</f>', '<f>{"a":1}', '{"a":1}']],
    [
      'any text in a tag',
      tag('<t>', { type: 'any_text' }, '</t>'),
      ['<t></t>', '<t>< </ </</t </\u6f22</t>', '<t>\u{1f600}\n<t></t>'],
      ['<t>', '<t></t></t>', '<t></t>x', 'x</t>'],
    ],
    [
      'an end that overlaps itself',
      tag('', { type: 'any_text' }, 'aabaaa'),
      ['aabaaa', 'aaabaaa', 'aabaabaaa', 'xaaabaaabaaa'.slice(0, 8)],
      ['aabaa', 'aabaaaa', 'aabaabaa'],
    ],
    ['any text', { type: 'sequence', elements: [string('a'), { type: 'any_text' }] }, ['a', 'ab\u20ac"\\'], ['', 'b']],
    [
      'tags with a separator',
      {
        type: 'tags_with_separator',
        separator: '; ',
        at_least_one: true,
        tags: [tag('f', schema(number), '!'), string('g')],
      },
      ['g', 'f{"a":1}!', 'g; g; f{"a":2}!'],
      ['', 'g;g', 'g; ', 'gg'],
    ],
    [
      'perhaps tags',
      { type: 'tags_with_separator', separator: ',', tags: [string('g')] },
      ['', 'g', 'g,g'],
      [',', 'g,'],
    ],
    [
      'one tag',
      { type: 'tags_with_separator', separator: ',', at_least_one: true, stop_after_first: true, tags: [string('g')] },
      ['g'],
      ['', 'g,g'],
    ],
  ])('%s', async (_, format, inside, outside) => {
    for (const text of inside) expect(await accepts(tagged(format), text), text).toBe(true);
    for (const text of outside) expect(await accepts(tagged(format), text), text).toBe(false);
  });

  test('are taken as text too', async () => {
    const structuralTag = JSON.stringify(tagged(string('x')).structuralTag);
    expect(await accepts({ structuralTag }, 'x')).toBe(true);
  });

  test('each schema has references of its own', async () => {
    const a = { $ref: '#/$defs/v', $defs: { v: { const: 1 } } };
    const b = { $ref: '#/$defs/v', $defs: { v: { const: 2 } } };
    const format = { type: 'sequence', elements: [schema(a), string(' '), schema(b)] };
    expect(await accepts(tagged(format), '1 2')).toBe(true);
    expect(await accepts(tagged(format), '1 1')).toBe(false);
  });

  test('walks end as they should', async () => {
    const format = { type: 'sequence', elements: [tag('<t>', { type: 'any_text' }, '</t>'), schema(number)] };
    for (let seed = 1; seed <= 4; seed++) {
      const text = await walk(tagged(format), randomOf(seed), 200);
      if (text === null) continue;
      const end = text.indexOf('</t>') + 4;
      expect(text.startsWith('<t>')).toBe(true);
      expect(Number.isInteger(JSON.parse(text.slice(end)).a)).toBe(true);
    }
  });

  const place = 'structured_outputs.structural_tag.format';
  test.each<[unknown, string]>([
    [undefined, `${place} must be a format, got undefined`],
    [{ type: 'triggered_tags' }, `${place}.type "triggered_tags" is not supported`],
    [{ type: 'const_string' }, `${place}.value must be a string without the character U+0000, got undefined`],
    [string('\0'), `${place}.value must be a string without the character U+0000`],
    [{ type: 'or', elements: [] }, `${place}.elements must be a list of at least one format`],
    [{ type: 'sequence', elements: [string('a'), 5] }, `${place}.elements[1] must be a format, got 5`],
    [schema({ type: 'wizard' }), `${place}.json_schema.type`],
    [schema({ properties: { a: { not: {} } } }), `${place}.json_schema.properties.a has the keyword "not"`],
    [{ type: 'regex', pattern: '(?=a)' }, `${place}.pattern`],
    [tag('a', { type: 'any_text' }, 'x'.repeat(65)), `${place}.end has more than 64 characters`],
    [{ type: 'tags_with_separator', tags: [string('a')] }, `${place}.separator must be a string`],
    [
      { type: 'tags_with_separator', tags: [string('a')], separator: '', at_least_one: 1 },
      `${place}.at_least_one must be true or false, got 1`,
    ],
  ])('refuse %j', async (format, message) => {
    expect(await refusal(tagged(format))).toContain(message);
  });

  test('refuse what is no tag', async () => {
    expect(await refusal({ structuralTag: '{' })).toContain('structural_tag is not JSON');
    expect(await refusal({ structuralTag: {} })).toContain('must be an object of type "structural_tag"');
    let deep: unknown = string('a');
    for (let i = 0; i < 20; i++) deep = { type: 'or', elements: [deep] };
    expect(await refusal(tagged(deep))).toContain('nested more than 16 deep');
    const many = { type: 'or', elements: Array.from({ length: 1030 }, () => ({ type: 'any_text' })) };
    expect(await refusal(tagged(many))).toContain('more than 1024 formats');
  });
});

/** Properties as tools have them. */
const properties = (prefix: string) =>
  Object.fromEntries(
    [
      { type: 'string' },
      { type: 'string', maxLength: 40 },
      { type: 'integer', minimum: 0, maximum: 100 },
      { type: 'number' },
      { type: 'boolean' },
      { enum: ['a', 'b', 'c'] },
      { type: 'array', items: { type: 'string' } },
      { type: 'object', properties: { x: { type: 'number' } }, required: ['x'] },
      { anyOf: [{ type: 'string' }, { type: 'null' }] },
      { type: 'array', items: { type: 'integer' }, maxItems: 4 },
    ].map((kind, i) => [`${prefix}${i}`, kind]),
  );
const fortyTools = tagged({
  type: 'or',
  elements: Array.from({ length: 40 }, (_, i) =>
    tag(
      `<call ${i}>`,
      schema({ type: 'object', properties: properties('p0'), required: ['p00'], additionalProperties: false }),
      '</call>',
    ),
  ),
});

test('forty tools of ten properties share the rules of what is alike in them', async () => {
  // The library takes its time by the number of rules: each tool with rules of its own makes more than 4,000 of them.
  expect(toGrammar(spec(fortyTools), 256).split('\n').length).toBeLessThan(200);
  expect(await accepts(fortyTools, '<call 38>{"p00": "x", "p02": 7}</call>')).toBe(true);
  expect(await accepts(fortyTools, '<call 38>{"p00": "x", "p02": 101}</call>')).toBe(false);
  expect(await accepts(fortyTools, '<call 38>{"p02": 7}</call>')).toBe(false);
});
