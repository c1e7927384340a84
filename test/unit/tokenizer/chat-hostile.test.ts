import { beforeAll, describe, expect, it } from 'vitest';
import { InvalidRequestError } from '../../../packages/core/src/errors.ts';
import { type ChatMessage, loadTokenizer, type Tokenizer } from '../../../packages/core/src/tokenizer/index.ts';
import { byteLevelJson, cpuClock, memoryFolder } from './sources.ts';

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await loadTokenizer(memoryFolder({ 'tokenizer.json': byteLevelJson() }));
  // So that compiling the code of the interpreter is not counted.
  for (let i = 0; i < 5; i++) attempt('{% for i in range(500) %}{{ [i, i] | tojson }}{% endfor %}');
});

function attempt(chatTemplate: string, messages: readonly ChatMessage[] = [{ role: 'user', content: 'hi' }]): unknown {
  try {
    return tokenizer.renderChat(messages, { chatTemplate });
  } catch (error) {
    return error;
  }
}

/** Doubling 40 times. */
const forty = (body: string): string => `{% for i in range(40) %}${body}{% endfor %}`;

const exhausting: readonly (readonly [name: string, template: string])[] = [
  ['a range of 10^9', '{% for i in range(1000000000) %}{% endfor %}'],
  ['a range of 10^300', '{% for i in range(10 ** 300) %}{% endfor %}'],
  [
    'a million turns in three loops',
    '{% for i in range(1000) %}{% for j in range(1000) %}{% for k in range(1000) %}{% endfor %}{% endfor %}{% endfor %}',
  ],
  ['many turns of an empty loop', '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}'],
  [
    'many turns over a mapping',
    `{% set d = {${Array.from({ length: 500 }, (_, i) => `'k${i}': 1`).join(',')}} %}{% for i in range(90000) %}{% for k in d %}{% endfor %}{% endfor %}`,
  ],
  ['a string that doubles', `{% set ns = namespace(s='x') %}${forty('{% set ns.s = ns.s + ns.s %}')}{{ ns.s }}`],
  ['a string that doubles with ~', `{% set ns = namespace(s='x') %}${forty('{% set ns.s = ns.s ~ ns.s %}')}`],
  [
    'a string that doubles by replacement',
    `{% set ns = namespace(s='x') %}${forty("{% set ns.s = ns.s.replace('x', 'xx') %}")}`,
  ],
  [
    'a block that doubles',
    `{% set ns = namespace(s='x') %}${forty('{% set t %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = t %}')}`,
  ],
  ['a list that doubles', `{% set ns = namespace(l=[1]) %}${forty('{% set ns.l = ns.l + ns.l %}')}{{ ns.l }}`],
  [
    'a list of itself twice, and so on',
    `{% set ns = namespace(l=[1]) %}${forty('{% set ns.l = [ns.l, ns.l] %}')}{{ ns.l | tojson }}`,
  ],
  ['the same, printed', `{% set ns = namespace(l=[1]) %}${forty('{% set ns.l = [ns.l, ns.l] %}')}{{ ns.l }}`],
  ['the same, joined', `{% set ns = namespace(l=['a']) %}${forty('{% set ns.l = [ns.l, ns.l] %}')}{{ ns.l | join }}`],
  [
    'a mapping of itself twice, and so on',
    `{% set ns = namespace(l={}) %}${forty("{% set ns.l = {'a': ns.l, 'b': ns.l} %}")}{{ ns.l }}`,
  ],
  ['a namespace that holds itself', '{% set ns = namespace() %}{% set ns.a = ns %}{{ ns | tojson }}'],
  ['a namespace that holds itself, printed', '{% set ns = namespace() %}{% set ns.a = [ns, ns] %}{{ ns }}'],
  ['a macro that calls itself', '{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}'],
  [
    'two macros that call each other',
    '{% macro f(x) %}{{ g(x) }}{% endmacro %}{% macro g(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}',
  ],
  [
    'a macro that calls itself twice',
    '{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}',
  ],
  [
    'a caller that calls itself',
    '{% macro f() %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f() %}{{ g() }}{% endcall %}{% endmacro %}{{ g() }}',
  ],
  ['an indent of 10^9', "{{ 'a\nb' | indent(1000000000) }}"],
  ['a JSON indent of 10^9', '{{ [1, 2] | tojson(indent=1000000000) }}'],
  ['many long JSON separators', `{% set s = '${'y'.repeat(10_000)}' %}{{ range(90000) | tojson(separators=[s, s]) }}`],
  ['a long separator', `{% set s = '${'y'.repeat(10_000)}' %}{{ range(90000) | join(s) }}`],
  ['a long replacement of nothing', `{% set s = '${'y'.repeat(10_000)}' %}{{ s.replace('', s) }}`],
  ['a long replacement as a filter', `{% set s = '${'y'.repeat(10_000)}' %}{{ s | replace('y', s) }}`],
  ['a long replacement under another name', `{% set s = '${'y'.repeat(10_000)}' %}{{ s['repl' ~ 'ace']('y', s) }}`],
  ['output in small parts', "{% for i in range(90000) %}{{ 'xxxxxxxxxxxxxxxxxxxx' }}{% endfor %}"],
  [
    'sorting again and again',
    '{% set l = range(90000) | list %}{% for i in range(10000) %}{% set m = l | sort %}{% endfor %}',
  ],
  [
    'unknown names again and again',
    '{% for i in range(99999) %}{% if a or b or c or d or e or f or g or h or i2 or j or k %}{% endif %}{% endfor %}',
  ],
];

const broken: readonly (readonly [name: string, template: string])[] = [
  ['100,000 parentheses', `{{ ${'('.repeat(50_000)}1${')'.repeat(50_000)} }}`],
  ['a long chain of operators', `{{ ${'1 + '.repeat(5000)}1 }}`],
  ['deep blocks', '{% if true %}'.repeat(2000) + '{% endif %}'.repeat(2000)],
  ['5 MB of template', 'x'.repeat(5_000_000)],
  ['white space that a lexer chokes on', ' '.repeat(100_000)],
  ['an unterminated block', '{% for m in messages %}'],
  ['an unterminated expression', '{{ messages'],
  ['an unterminated comment', '{# never'],
  ['include', "{% include 'secret.txt' %}"],
  ['import', "{% import 'os' as os %}{{ os }}"],
  ['from', "{% from 'os' import path %}"],
  ['extends', "{% extends 'base.html' %}"],
  ['an unknown filter', "{{ 'x' | nothing }}"],
  ['an unknown test', '{{ 1 is wonderful }}'],
  ['an unknown function', '{{ lipsum(5) }}'],
  ['the constructor of a string', "{{ ''.constructor('return process')() }}"],
  ['the class of a string', "{{ ''.__class__.__mro__[1].__subclasses__() }}"],
  ['globals of a function', '{{ range.__globals__.os.system("id") }}'],
  ['the prototype by index', "{{ messages['__proto__']['polluted'] }}{{ [].constructor() }}"],
  ['arguments spread over a filter', "{{ 'x' | replace(*['x', 'y']) }}"],
];

describe('a template without end', () => {
  it.each(exhausting)('is stopped: %s', (_, template) => {
    const elapsed = cpuClock();
    const result = attempt(template);
    const took = elapsed();
    expect(result).toBeInstanceOf(InvalidRequestError);
    expect(result).toMatchObject({ code: 'chat_template_failed', param: 'messages' });
    expect((result as Error).message).toMatch(/: (it (takes|makes|nests|counts)|one of its operations) /);
    // The budget is about 250 ms.
    expect(took).toBeLessThan(1000);
  });

  it.each(broken)('or that makes no sense is refused: %s', (_, template) => {
    const elapsed = cpuClock();
    const result = attempt(template);
    expect(result).toBeInstanceOf(InvalidRequestError);
    expect(result).toMatchObject({ code: 'chat_template_failed' });
    expect(elapsed()).toBeLessThan(1000);
  });
});

describe('the host', () => {
  it('is out of sight', () => {
    const names = [
      'process',
      'globalThis',
      'constructor',
      '__proto__',
      'Object',
      'require',
      'self',
      'window',
      'console',
      'this',
    ];
    for (const name of names) expect(attempt(`{{ ${name} is defined }}`)).toBe('false');
    for (const name of ['constructor', '__proto__', 'prototype', 'toString', '__class__', '__globals__']) {
      for (const value of [
        'messages',
        'messages[0]',
        "'x'",
        '1',
        'range',
        'namespace()',
        'namespace',
        'none',
        'true',
      ]) {
        expect(attempt(`{{ (${value}).${name} is defined }}{{ (${value})['${name}'] is defined }}`)).toBe('falsefalse');
      }
    }
  });

  it('is not changed by a template', () => {
    attempt(
      "{% set ns = namespace() %}{% set ns.__proto__ = {'polluted': 1} %}{% set ns.constructor = 1 %}{{ {'__proto__': {'polluted': 1}} }}",
    );
    expect('polluted' in {}).toBe(false);
    expect({}.constructor).toBe(Object);
  });
});

describe('ordinary templates', () => {
  it('run in time on long conversations', () => {
    const messages = Array.from({ length: 1000 }, (_, i) => ({
      role: i % 2 === 0 ? 'user' : 'assistant',
      content: 'word '.repeat(200),
    }));
    const template =
      "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('no') }}{% endif %}{{ '<s>' + m['role'] + '\n' + m['content'] | trim + '</s>' }}{% endfor %}";
    const elapsed = cpuClock();
    expect(attempt(template, messages)).toHaveLength(1000 * (3 + 1 + 999 + 4) + 500 * 4 + 500 * 9);
    // Processor time doubles on a machine that is busy.
    expect(elapsed()).toBeLessThan(750);
  });

  it('run on a message of a megabyte', () => {
    const content = 'line of text\n'.repeat(80_000);
    expect(
      attempt("{{ messages[0].content.replace('\n', '\n  ') | trim }}!", [{ role: 'user', content }]),
    ).toHaveLength(80_000 * 15 - 3 + 1);
  });
});

describe('messages', () => {
  it.each([
    [{ role: 'user', content: null }],
    [{ role: 'user', content: [{ type: 'text', text: 'x' }] }],
    [{ role: 7, content: 'x' }],
  ])('must be text: %j', message => {
    const result = attempt('{{ messages }}', [message as unknown as ChatMessage]);
    expect(result).toMatchObject({ name: 'InvalidRequestError', param: 'messages' });
  });
});
