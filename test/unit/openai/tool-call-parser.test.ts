import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ToolCallParser } from '../../../packages/server/src/openai/tools/tool-call-parser.ts';
import { type ToolCallFormat, toolCallSyntaxes } from '../../../packages/server/src/openai/tools/tool-formats.ts';
import { cpuClock } from '../tokenizer/sources.ts';
import { cut, type Message, parse } from './merge-events.ts';

const formats = ['hermes', 'llama3_json'] as const;
const parserOf = (format: ToolCallFormat, names: string[] | null = null, parallel = true) =>
  new ToolCallParser(toolCallSyntaxes[format], { names: names && new Set(names), parallel });

/** What the text becomes, in one piece and in pieces of one code unit. */
function read(format: ToolCallFormat, text: string, names: string[] | null = null): Message {
  const whole = parse(parserOf(format, names), [text]);
  expect(parse(parserOf(format, names), text.split(''))).toEqual(whole);
  return whole;
}
const message = (content: string, ...calls: [name: string, args: string][]): Message => ({
  content,
  reasoning: '',
  calls: calls.map(([name, args]) => ({ name, arguments: args })),
});

describe('Hermes calls', () => {
  it.each<[string, string, Message]>([
    ['one', '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', message('', ['f', '{"a": 1}'])],
    ['no arguments', '<tool_call>{"name":"f"}</tool_call>', message('', ['f', '{}'])],
    [
      'several',
      '<tool_call>{"name":"f","arguments":{}}</tool_call>\n<tool_call>{"name":"g","arguments":{"b":[]}}</tool_call>\n',
      message('', ['f', '{}'], ['g', '{"b":[]}']),
    ],
    [
      'text before and after',
      'Let me see.\n<tool_call>{"name":"f","arguments":{}}</tool_call>\nDone.',
      message('Let me see.\n\nDone.', ['f', '{}']),
    ],
    ['space before', '\n\n<tool_call>{"name":"f","arguments":{}}</tool_call>', message('', ['f', '{}'])],
    ['arguments first', '<tool_call>{"arguments":{"a":"}"},"name":"f"}</tool_call>', message('', ['f', '{"a":"}"}'])],
    [
      'other members',
      '<tool_call>{"id":"x{","n":-1.5e+3,"name":"f","l":[{}],"arguments":{"a":{"b":{}}},"z":null}</tool_call>',
      message('', ['f', '{"a":{"b":{}}}']),
    ],
    ['parameters', '<tool_call>{"name":"f","parameters":{"a":true}}</tool_call>', message('', ['f', '{"a":true}'])],
    ['an escaped name', '<tool_call>{"na\\u006de":"\\u0066\\"","arguments":{}}</tool_call>', message('', ['f"', '{}'])],
    ['no end', '<tool_call>{"name":"f","arguments":{}}', message('', ['f', '{}'])],
    [
      'two within one pair of markers',
      '<tool_call>{"name":"f","arguments":{}}\n{"name":"g","arguments":{}}</tool_call>',
      message('', ['f', '{}'], ['g', '{}']),
    ],
    [
      'a beginning without an end between two',
      '<tool_call>{"name":"f","arguments":{}}\n<tool_call>{"name":"g","arguments":{}}</tool_call>',
      message('', ['f', '{}'], ['g', '{}']),
    ],
    [
      'markers in arguments',
      '<tool_call>{"name":"f","arguments":{"a":"</tool_call><tool_call>"}}</tool_call>',
      message('', ['f', '{"a":"</tool_call><tool_call>"}']),
    ],
    [
      'a marker after half of one',
      '<tool_<tool_call>{"name":"f","arguments":{}}</tool_call>',
      message('<tool_', ['f', '{}']),
    ],
    [
      'a marker twice',
      '<tool_call><tool_call>{"name":"f","arguments":{}}</tool_call>',
      message('<tool_call>', ['f', '{}']),
    ],
  ])('%s', (_, text, expected) => {
    expect(read('hermes', text)).toEqual(expected);
  });

  it.each([
    'plain text',
    ' with space around ',
    '<tool_call>',
    '<tool_call>\n',
    '<tool_cal',
    '</tool_call>',
    'a < b <tool> </tool_call> <',
    '<tool_call>not JSON</tool_call>',
    '<tool_call>{"name": "f"',
    '<tool_call>{"name": "f", "arguments"</tool_call>',
    '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
    '<tool_call>{"name": "f", "arguments": "{}"}</tool_call>',
    '<tool_call>{"name": "f", "arguments": 12}</tool_call>',
    '<tool_call>{"name": 5, "arguments": {}}</tool_call>',
    '<tool_call>{"name": {}, "arguments": {}}</tool_call>',
    '<tool_call>{"name": "", "arguments": {}}</tool_call>',
    '<tool_call>{"name": "f", "name": "g", "arguments": {}}</tool_call>',
    '<tool_call>{"arguments": {}, "parameters": {}, "name": "f"}</tool_call>',
    '<tool_call>{"arguments": {}}</tool_call>',
    '<tool_call>{}</tool_call>',
    '<tool_call>[{"name": "f", "arguments": {}}]</tool_call>',
    "<tool_call>{'name': 'f', 'arguments': {}}</tool_call>",
    '<tool_call>{"name": "f\nx", "arguments": {}}</tool_call>',
    '<tool_call>{"name": "f", arguments: {}}</tool_call>',
  ])('leaves what is no call as it is: %j', text => {
    expect(read('hermes', text)).toEqual(message(text));
  });

  it.each([
    ['name', `<tool_call>{"name": "${'x'.repeat(2000)}", "arguments": {}}</tool_call>`],
    ['text before the name', `<tool_call>{"arguments": {"a": "${'x'.repeat(70_000)}"}, "name": "f"}</tool_call>`],
    ['space', `<tool_call>${' '.repeat(2000)}{"name": "f", "arguments": {}}</tool_call>`],
  ])('leaves a call with too long a %s as it is', (_, text) => {
    expect(read('hermes', text)).toEqual(message(text));
  });

  it('keeps what a call has when its arguments break off', () => {
    const begun = '<tool_call>{"name":"f","arguments":{"a":1';
    expect(read('hermes', begun)).toEqual(message('', ['f', '{"a":1']));
    expect(read('hermes', `${begun},]}</tool_call>`)).toEqual(message(']}</tool_call>', ['f', '{"a":1,']));
    expect(read('hermes', `${begun}} "x"}</tool_call>!`)).toEqual(message('"x"}</tool_call>!', ['f', '{"a":1}']));
    const deep = `<tool_call>{"name":"f","arguments":{"a":${'['.repeat(200)}`;
    expect(read('hermes', deep)).toEqual(message('['.repeat(74), ['f', `{"a":${'['.repeat(126)}`]));
  });
});

describe('Llama 3 calls', () => {
  it.each<[string, string, Message]>([
    ['bare', '{"name": "f", "parameters": {"a": 1}}', message('', ['f', '{"a": 1}'])],
    ['with the marker', '<|python_tag|>{"name": "f", "parameters": {}}', message('', ['f', '{}'])],
    ['space before', '\n {"name": "f", "parameters": {}}', message('', ['f', '{}'])],
    [
      'several',
      '{"name": "f", "parameters": {}}; {"name": "g", "arguments": {"b": ";"}};{"name":"h","parameters":{}}',
      message('', ['f', '{}'], ['g', '{"b": ";"}'], ['h', '{}']),
    ],
    [
      'behind text, with the marker',
      'Well.<|python_tag|>{"name": "f", "parameters": {}}',
      message('Well.', ['f', '{}']),
    ],
    ['text after', '{"name": "f", "parameters": {}} done', message(' done', ['f', '{}'])],
    ['a separator and no call', '{"name": "f", "parameters": {}}; done', message('; done', ['f', '{}'])],
  ])('%s', (_, text, expected) => {
    expect(read('llama3_json', text)).toEqual(expected);
  });

  it.each([
    '{"a": 1}',
    'See {"name": "f", "parameters": {}}',
    '<|python_tag|>print(1)',
    ';{"name": "f", "parameters": {}}',
  ])('leaves what is no call as it is: %j', text => {
    expect(read('llama3_json', text)).toEqual(message(text));
  });

  it('takes names that it does not know for text', () => {
    const text = '{"name": "Bob", "parameters": {}}';
    expect(read('llama3_json', text, ['f'])).toEqual(message(text));
    expect(read('llama3_json', text, ['f', 'Bob'])).toEqual(message('', ['Bob', '{}']));
  });
});

it('leaves out all but the first call where they may not be parallel', () => {
  const call = '<tool_call>{"name":"f","arguments":{"a":1}}</tool_call>';
  expect(parse(parserOf('hermes', null, false), [`a${call}${call}b`])).toEqual(message('ab', ['f', '{"a":1}']));
});

it('tells a name as soon as it is sure, and arguments as they come', () => {
  const parser = parserOf('hermes');
  expect(parser.push('<tool_call>{"name": "f", "argu')).toEqual([]);
  expect(parser.push('ments": {')).toEqual([
    { kind: 'call', index: 0, name: 'f' },
    { kind: 'arguments', index: 0, text: '{' },
  ]);
  expect(parser.push('"a": "b')).toEqual([{ kind: 'arguments', index: 0, text: '"a": "b' }]);
  expect(parser.push('c"}}\n</tool_')).toEqual([{ kind: 'arguments', index: 0, text: 'c"}' }]);
  expect(parser.push('call>')).toEqual([]);
});

const piece = fc.constantFrom(
  '<tool_call>',
  '</tool_call>',
  '<|python_tag|>',
  '{"name": "f", "arguments": {',
  '{"name":"g","parameters":{}}',
  '"a": 1',
  '}',
  '}}',
  '{',
  '"',
  '\\',
  ',',
  ':',
  ';',
  ' ',
  '\n',
  '<',
  '<tool',
  'true',
  '-0.5e1',
  '[',
  ']',
  'text',
  '🦊',
  '\ud83e',
  '\u0000',
); // prettier-ignore
const json = fc.json({ maxDepth: 4 });
const call = fc.tuple(fc.string({ minLength: 1, maxLength: 20 }), fc.dictionary(fc.string(), fc.jsonValue()));
const anyText = fc.array(fc.oneof(piece, json, fc.string()), { maxLength: 20 }).map(parts => parts.join(''));
const places = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 });

describe.each(formats)('%s, whatever the text', format => {
  it('does not depend on how it is cut', () => {
    fc.assert(
      fc.property(anyText, places, (text, cuts) => {
        expect(parse(parserOf(format), cut(text, cuts))).toEqual(read(format, text));
      }),
      { numRuns: 2000 },
    );
  });

  it('loses nothing: letters are in the content, in a call, or beside one', () => {
    fc.assert(
      fc.property(anyText, text => {
        const { content, calls } = read(format, text);
        if (calls.length === 0) expect(content).toBe(text);
        for (const { name, arguments: args } of calls)
          expect(text).toContain(args === '{}' ? JSON.stringify(name)[0] : args);
      }),
      { numRuns: 500 },
    );
  });

  it('finds every call that is written as it should be', () => {
    fc.assert(
      fc.property(fc.array(call, { minLength: 1, maxLength: 5 }), places, (calls, cuts) => {
        const texts = calls.map(([name, args]) => JSON.stringify({ name, arguments: args }));
        const text =
          format === 'hermes' ? texts.map(t => `<tool_call>\n${t}\n</tool_call>`).join('\n') : texts.join('; ');
        const found = parse(parserOf(format), cut(text, cuts));
        expect(found.content).toBe('');
        expect(found.calls).toEqual(calls.map(([name, args]) => ({ name, arguments: JSON.stringify(args) })));
      }),
      { numRuns: 500 },
    );
  });
});

const bulk = 100_000;
const hostile: [string, string][] = [
  ['brackets', `<tool_call>{"name":"f","arguments":{"a":${'['.repeat(bulk)}`],
  ['markers', '<tool_call>'.repeat(bulk / 11)],
  ['half markers', '<tool_cal'.repeat(bulk / 9)],
  ['less-than signs', '<'.repeat(bulk)],
  ['space', ' '.repeat(bulk)],
  ['space in a call', `<tool_call>{${' '.repeat(bulk)}`],
  ['a name', `<tool_call>{"name":"${'x'.repeat(bulk)}`],
  ['backslashes', `<tool_call>{"name":"f","arguments":{"a":"${'\\'.repeat(bulk)}`],
  ['a key', `<tool_call>{"name":"f","arguments":{},"${'x'.repeat(bulk)}`],
  ['arguments without a name', `<tool_call>{"arguments":{"a":"${'x'.repeat(bulk)}`],
  ['calls', '<tool_call>{"name":"f","arguments":{}}</tool_call>'.repeat(bulk / 50)],
  ['beginnings of calls', '<tool_call>{"name":"f",'.repeat(bulk / 23)],
  ['digits', `{"a":${'1'.repeat(bulk)}`],
  ['separators', `{"name":"f","parameters":{}}${';'.repeat(bulk)}`],
  ['a call of 100 KB', `<tool_call>{"name":"f","arguments":{"a":"${'xy '.repeat(bulk / 3)}"}}</tool_call>`],
];

describe.each(formats)('100 KB in %s take linear time', format => {
  it.each(hostile)('%s', (_, text) => {
    for (const pieces of [[text], text.split('')]) {
      // The first times compile the code.
      const times = [1, 2, 3].map(() => {
        const elapsed = cpuClock();
        parse(parserOf(format), pieces);
        return elapsed();
      });
      // In quadratic time they take seconds. Processor time, too, doubles on a machine that is busy.
      expect(Math.min(...times)).toBeLessThan(250);
    }
  });
});
