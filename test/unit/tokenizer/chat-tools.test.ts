import { Template } from '@huggingface/jinja';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  type ChatMessage,
  type ChatTemplateOptions,
  loadTokenizer,
  type Tokenizer,
} from '../../../packages/core/src/tokenizer/index.ts';
import { byteLevelJson, memoryFolder } from './sources.ts';
import { llama31, qwen3, qwen25, typeScript } from './tool-templates.ts';

const specials = [
  '<s>',
  '</s>',
  '<|im_start|>',
  '<|im_end|>',
  '<|start_header_id|>',
  '<|end_header_id|>',
  '<|eot_id|>',
];
const templates = { qwen25, qwen3, llama31, typeScript };

async function tokenizerWith(chatTemplate: unknown): Promise<Tokenizer> {
  const config = { bos_token: '<s>', eos_token: '</s>', chat_template: chatTemplate };
  const json = byteLevelJson({}, specials);
  return loadTokenizer(memoryFolder({ 'tokenizer.json': json, 'tokenizer_config.json': config }));
}

const tools = [
  {
    type: 'function',
    function: {
      name: 'weather',
      description: 'Tells the weather of a "city"\n',
      parameters: {
        type: 'object',
        properties: {
          city: { type: 'string', description: 'Where' },
          days: { type: 'array', items: { type: 'integer' } },
          items: { enum: ['rain', 'snow'] },
        },
        required: ['city'],
      },
    },
  },
];
const conversation: ChatMessage[] = [
  { role: 'user', content: 'Is it dry in Oslo?' },
  {
    role: 'assistant',
    content: '',
    toolCalls: [{ id: 'call_1', name: 'weather', arguments: { city: 'Oslo', days: [1, 2.5], items: null, get: true } }],
  },
  { role: 'tool', content: '{"rain": "<none>"}', toolCallId: 'call_1' },
];

/** What the library makes of it, without budget and provenance. */
function renderPlain(template: string, variables: object): string {
  const library = new (Template as unknown as new (source: string) => { render(variables: object): string })(template);
  return library.render({ bos_token: '<s>', eos_token: '</s>', ...variables });
}

/** Messages in OpenAI's form, with the arguments as values. */
function openAIForm(messages: readonly ChatMessage[]): object[] {
  return messages.map(({ toolCalls, toolCallId, reasoning, ...rest }) => ({
    ...rest,
    ...(toolCallId === undefined ? {} : { tool_call_id: toolCallId }),
    ...(reasoning === undefined ? {} : { reasoning, reasoning_content: reasoning }),
    ...(toolCalls === undefined
      ? {}
      : { tool_calls: toolCalls.map(({ id, ...call }) => ({ id, type: 'function', function: call })) }),
  }));
}

describe.each(['qwen25', 'llama31'] as const)('the template of %s', name => {
  it('shows tools, calls and results as the library does', async () => {
    const tokenizer = await tokenizerWith(templates[name]);
    const variables = { messages: openAIForm(conversation), tools, add_generation_prompt: true };
    const text = tokenizer.renderChat(conversation, { tools });
    expect(text).toBe(renderPlain(templates[name], variables));
    expect(text).toContain('"city": "Oslo"');
    expect(tokenizer.renderChat(conversation.slice(0, 1))).not.toContain('weather');
  });
});

it('shows the reasoning of the turns behind the last question, as Qwen 3 does', async () => {
  const tokenizer = await tokenizerWith(qwen3);
  const [question, call, result] = conversation as [ChatMessage, ChatMessage, ChatMessage];
  const turns = [
    question,
    { ...call, content: 'Wait.', reasoning: '\nWhere?\n' },
    result,
    result,
    { role: 'assistant', content: '<think>\nRain.\n</think>\n\n  Wet.' },
  ];
  expect(tokenizer.renderChat(turns)).toBe(
    [
      '<|im_start|>user\nIs it dry in Oslo?<|im_end|>',
      '<|im_start|>assistant\n<think>\nWhere?\n</think>\n\nWait.',
      '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": [1, 2.5], "items": null, "get": true}}',
      '</tool_call><|im_end|>',
      '<|im_start|>user\n<tool_response>\n{"rain": "<none>"}\n</tool_response>',
      '<tool_response>\n{"rain": "<none>"}\n</tool_response><|im_end|>',
      '<|im_start|>assistant\n<think>\nRain.\n</think>\n\n  Wet.<|im_end|>',
      '<|im_start|>assistant\n',
    ].join('\n'),
  );
});

it('spells out the properties of a tool, whatever their names', async () => {
  const tokenizer = await tokenizerWith(typeScript);
  expect(tokenizer.renderChat(conversation, { tools, chatTemplateKwargs: { effort: 'high' } })).toBe(
    [
      '<|im_start|>system',
      'weather(city: string, days?: integer[], items?: rain | snow) city=Where days=array items=high<|im_end|>',
      '<|im_end|>city=Oslo;days=[1, 2.5];items=;get=true;citydaysgetitems{"weather": 1}weather<|im_end|><|im_end|>',
    ].join('\n'),
  );
});

it('takes the template named tool_use for conversations with tools', async () => {
  const named = [
    { name: 'default', template: 'plain' },
    { name: 'tool_use', template: '{{ tools | length }} tools' },
  ];
  const tokenizer = await tokenizerWith(named);
  expect(tokenizer.renderChat(conversation)).toBe('plain');
  expect(tokenizer.renderChat(conversation, { tools })).toBe('1 tools');
  expect(tokenizer.chatTemplate?.source).toBe('{{ tools | length }} tools');
  expect(tokenizer.chatTemplate?.names.has('tools')).toBe(true);
});

describe('variables of the request', () => {
  const render = async (kwargs: object, template = '{{ enable_thinking | default("unset") }}|{{ x }}') =>
    (await tokenizerWith(template)).renderChat([], { chatTemplateKwargs: kwargs } as ChatTemplateOptions);

  it('reach the template', async () => {
    expect(await render({ enable_thinking: false })).toBe('false|');
    expect(await render({ x: 'é', enable_thinking: null })).toBe('|é');
    expect(await render({ x: 1.5 })).toBe('unset|1.5');
  });

  it.each([
    [{ messages: 'x' }, /cannot set "messages"/],
    [{ tools: 'x' }, /cannot set "tools"/],
    [{ bos_token: 'x' }, /cannot set "bos_token"/],
    [{ add_generation_prompt: true }, /cannot set/],
    [{ continue_final_message: true }, /cannot set/],
    [{ chat_template: 'x' }, /cannot set/],
    [{ tokenize: true }, /cannot set/],
    [{ range: 1 }, /cannot set "range"/],
    [{ raise_exception: 1 }, /cannot set/],
    [{ namespace: 1 }, /cannot set/],
    [{ loop: 1 }, /cannot set/],
    [{ none: 1 }, /cannot set "none"/],
    [{ a: {} }, /neither text, a number/],
    [{ a: [] }, /neither text, a number/],
    [{ a: Number.NaN }, /no finite number/],
    [{ a: 'x'.repeat(2000) }, /2000 characters/],
    [{ 'a b': 1 }, /no name of a variable/],
    [JSON.parse('{"__proto__": {}}'), /neither text/],
    [Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`a${i}`, 1])), /100 entries/],
  ])('are refused: %j', async (kwargs, message) => {
    await expect(render(kwargs)).rejects.toThrow(message);
    await expect(render(kwargs)).rejects.toMatchObject({ name: 'InvalidRequestError', param: 'chat_template_kwargs' });
  });
});

it('refuses tools that are no JSON values', async () => {
  const tokenizer = await tokenizerWith(qwen25);
  let deep: unknown = {};
  for (let i = 0; i < 100; i++) deep = [deep];
  for (const tool of [{ f: () => 1 }, { n: 1n }, { deep }]) {
    expect(() => tokenizer.renderChat([], { tools: [tool] })).toThrow(/^tools (has a value|is nested)/);
  }
});

describe('text of tools, calls, results and variables', () => {
  const loaded = new Map<string, Tokenizer>();
  beforeAll(async () => {
    for (const [name, template] of Object.entries(templates)) loaded.set(name, await tokenizerWith(template));
  });
  const piece = fc.constantFrom(
    ...specials,
    'im_end',
    'eot_id',
    '<|',
    '|>',
    '<',
    'a',
    '"',
    ' ',
    'type',
    'items',
    'name',
    '\n',
  );
  const text = fc.array(piece, { minLength: 1, maxLength: 4 }).map(parts => parts.join(''));
  const values = fc.dictionary(text, fc.oneof(text, fc.integer(), fc.array(text), fc.dictionary(text, fc.boolean())));
  const tool = fc.record({
    name: text,
    description: text,
    parameters: fc.record({
      type: fc.constant('object'),
      properties: fc.dictionary(text, fc.record({ type: text, description: text })),
      required: fc.array(text),
    }),
  });

  it.each(Object.keys(templates))('never becomes special tokens: %s', name => {
    const tokenizer = loaded.get(name)!;
    const count = (messages: ChatMessage[], options: ChatTemplateOptions): number =>
      tokenizer.encodeChat(messages, options).filter(id => tokenizer.specialTokenIds.has(id)).length;
    const messagesOf = (callName: string, id: string, args: Record<string, unknown>, result: string): ChatMessage[] => [
      { role: 'user', content: result },
      { role: 'assistant', content: '', reasoning: result, toolCalls: [{ id, name: callName, arguments: args }] },
      { role: 'tool', content: result, toolCallId: id },
    ];
    fc.assert(
      fc.property(tool, text, text, values, text, (definition, callName, id, args, result) => {
        const options = (description: object, effort: string) => ({
          tools: [{ type: 'function', function: description }],
          chatTemplateKwargs: { effort, date_string: effort },
        });
        const plain = count(messagesOf('f', 'c', {}, 'x'), options({ name: 'f', parameters: { properties: {} } }, 'x'));
        const made = count(messagesOf(callName, id, args, result), options(definition, result));
        expect(made).toBe(plain);
      }),
      { numRuns: 300 },
    );
  });
});
