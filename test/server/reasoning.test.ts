/** Reasoning in chat, and variables of the chat template. The model is a script. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { characterTokenizer } from './fake-engine.ts';
import { postChat, type Scripted, startScripted, weather } from './tool-requests.ts';

let qwen: Scripted;
beforeAll(async () => {
  qwen = await startScripted({ reasoningParser: 'qwen3' });
});
afterAll(() => qwen.server.close(0));

const messages = [{ role: 'user' as const, content: 'hi' }];
interface Reasoned {
  content: string | null;
  reasoning?: string;
  reasoning_content?: string;
}

/** Whole and streamed, which must agree. */
async function answer(server: Scripted, text: string, fields: object = {}) {
  server.say(text);
  const request = { model: 'fake', messages, ...fields };
  const whole = await server.client.chat.completions.create(request);
  const message = whole.choices[0]!.message as Reasoned;
  for (const size of [1, 5, 1000]) {
    server.say(text, size);
    const options = { include_usage: true };
    const stream = await server.client.chat.completions.create({ ...request, stream: true, stream_options: options });
    const streamed = { content: '', reasoning: '', usage: {} as unknown };
    for await (const { choices, usage } of stream) {
      const { content, reasoning, reasoning_content: older } = (choices[0]?.delta ?? {}) as Reasoned;
      expect(older).toBe(reasoning);
      streamed.content += content ?? '';
      streamed.reasoning += reasoning ?? '';
      streamed.usage = usage ?? streamed.usage;
    }
    const { content, reasoning = '' } = message;
    // The engine of these tests streams one token per character; a marker that is cut is several.
    if (size === 1000) expect(streamed).toEqual({ content: content ?? '', reasoning, usage: whole.usage });
    else expect(streamed).toMatchObject({ content: content ?? '', reasoning });
  }
  return { message, usage: whole.usage!, finish: whole.choices[0]!.finish_reason };
}

describe('a model that reasons', () => {
  it('has its reasoning told apart, under both names', async () => {
    const { message, usage, finish } = await answer(qwen, '<think>\nHm, <so>.\n</think>\n\nYes.');
    expect(message).toMatchObject({
      content: '\n\nYes.',
      reasoning: '\nHm, <so>.\n',
      reasoning_content: '\nHm, <so>.\n',
    });
    expect(usage.completion_tokens_details).toEqual({ reasoning_tokens: 11 });
    expect(finish).toBe('stop');
  });

  it('may not reason', async () => {
    const { message, usage } = await answer(qwen, 'Yes.');
    expect(message).toEqual({ role: 'assistant', content: 'Yes.', refusal: null });
    expect(usage.completion_tokens_details).toEqual({ reasoning_tokens: 0 });
  });

  it('may be cut off', async () => {
    const { message } = await answer(qwen, '<think>Hm');
    expect(message).toMatchObject({ content: '', reasoning: 'Hm' });
  });

  it('keeps its reasoning to itself when asked to', async () => {
    const { message, usage } = await answer(qwen, '<think>Hm</think>Yes.', { include_reasoning: false });
    expect(message).toEqual({ role: 'assistant', content: 'Yes.', refusal: null });
    expect(usage.completion_tokens_details).toEqual({ reasoning_tokens: 2 });
  });

  it('calls tools behind it', async () => {
    const call = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>';
    const { message, finish } = await answer(qwen, `<think>${call}</think>${call}`, { tools: [weather] });
    expect(message).toMatchObject({ content: null, reasoning: call, tool_calls: [{ function: { name: 'weather' } }] });
    expect(finish).toBe('tool_calls');
  });

  it('is not looked into without a parser', async () => {
    const plain = await startScripted();
    const { message, usage } = await answer(plain, '<think>Hm</think>Yes.');
    expect(message).toEqual({ role: 'assistant', content: '<think>Hm</think>Yes.', refusal: null });
    expect(usage).not.toHaveProperty('completion_tokens_details');
    await plain.server.close(0);
  });
});

describe('a template that opens the reasoning, or closes it', () => {
  const endsWith = (end: string): typeof characterTokenizer => ({
    ...characterTokenizer,
    encodeChat: () => characterTokenizer.encode(`user: hi\n${end}`),
  });

  it.each([
    ['qwen3', '', { tokens: 7, isOpen: false }],
    ['qwen3', '<think>\n', { tokens: 7, isOpen: true }],
    ['qwen3', '<think>\n\n</think>\n\n', undefined],
    ['deepseek_r1', '', { tokens: 7, isOpen: true }],
  ])('%s: %j: its budget counts from there', async (reasoningParser, end, expected) => {
    const server = await startScripted({ reasoningParser, tokenizer: endsWith(end) });
    const budgetOf = async (tokens: number) => {
      expect((await postChat(server.origin, { thinking_token_budget: tokens })).status).toBe(200);
      return server.engine.requests.at(-1)!.params.thinkingTokenBudget;
    };
    const [beginTokenId, endTokenId] = ['<think>', '</think>'].map(text => characterTokenizer.tokenToId(text));
    expect(await budgetOf(7)).toEqual(expected && { ...expected, beginTokenId, endTokenId });
    expect(await budgetOf(-1)).toBeUndefined();
    await server.server.close(0);
  });

  it('a budget is a 400 that names it where the reasoning is not told apart', async () => {
    const server = await startScripted();
    const response = await postChat(server.origin, { thinking_token_budget: 7 });
    const { error } = (await response.json()) as { error: { param: string } };
    expect([response.status, error.param]).toEqual([400, 'thinking_token_budget']);
    await server.server.close(0);
  });

  it.each([
    ['qwen3', '<think>\n', 'Hm</think>Yes', 'Hm', 'Yes', 2],
    ['qwen3', '<think>\n\n</think>\n\n', '<think>Yes', undefined, '<think>Yes', 0],
    ['deepseek_r1', '', 'Hm</think>Yes', 'Hm', 'Yes', 2],
    ['deepseek_r1', '<think>\n', 'Hm', 'Hm', '', 2],
  ])('%s: %j', async (reasoningParser, end, text, reasoning, content, tokens) => {
    const server = await startScripted({ reasoningParser, tokenizer: endsWith(end) });
    const { message, usage } = await answer(server, text);
    expect([message.reasoning, message.content]).toEqual([reasoning, content]);
    expect(usage.completion_tokens_details?.reasoning_tokens).toBe(tokens);
    await server.server.close(0);
  });
});

describe('a constraint', () => {
  const constraintOf = async (fields: object) => {
    qwen.say('x');
    expect((await postChat(qwen.origin, fields)).status).toBe(200);
    return qwen.engine.requests.at(-1)!.params.structuredOutputs;
  };

  it('binds what stands behind the reasoning', async () => {
    const thoughts = { type: 'tag', begin: '<think>', content: { type: 'any_text' }, end: '</think>' };
    const head = [
      { type: 'or', elements: [thoughts, { type: 'const_string', value: '' }] },
      { type: 'regex', pattern: '\\n{0,2}' },
    ];
    const behind = (format: object) => ({
      structuralTag: { type: 'structural_tag', format: { type: 'sequence', elements: [...head, format] } },
    });
    const schema = { type: 'integer' };
    const anyObject = { type: 'json_schema', json_schema: { type: 'object' } };
    expect(
      await constraintOf({ response_format: { type: 'json_schema', json_schema: { name: 'a', schema } } }),
    ).toEqual(behind({ type: 'json_schema', json_schema: schema }));
    expect(await constraintOf({ response_format: { type: 'json_object' } })).toEqual(behind(anyObject));
    expect(await constraintOf({ structured_outputs: { json_object: true, disable_any_whitespace: true } })).toEqual({
      ...behind(anyObject),
      disableAnyWhitespace: true,
    });
    expect(await constraintOf({ guided_regex: 'a+' })).toEqual(behind({ type: 'regex', pattern: 'a+' }));
    expect(await constraintOf({ guided_choice: ['a'] })).toEqual(
      behind({ type: 'or', elements: [{ type: 'const_string', value: 'a' }] }),
    );
    expect(await constraintOf({ guided_grammar: 'root ::= "a"' })).toEqual({ grammar: 'root ::= "a"' });
  });
});

describe('variables of the chat template', () => {
  const variablesOf = async (fields: object) => {
    qwen.say('x');
    const response = await postChat(qwen.origin, fields);
    expect(response.status).toBe(200);
    return [qwen.rendered().options.chatTemplateKwargs, response.headers.get('x-quire-ignored-fields')];
  };

  it('come from the request, and what the template does not read is told', async () => {
    const kwargs = { enable_thinking: false, color: 'red' };
    expect(await variablesOf({ chat_template_kwargs: kwargs })).toEqual([kwargs, 'chat_template_kwargs.color']);
    expect(await variablesOf({ chat_template_kwargs: {} })).toEqual([undefined, null]);
  });

  it('hold the effort', async () => {
    expect(await variablesOf({ reasoning_effort: 'high' })).toEqual([{ reasoning_effort: 'high' }, null]);
    const none = { reasoning_effort: 'none', enable_thinking: false };
    expect(await variablesOf({ reasoning_effort: 'none' })).toEqual([none, null]);
    const given = { reasoning_effort: 'none', chat_template_kwargs: { enable_thinking: true } };
    expect(await variablesOf(given)).toEqual([{ reasoning_effort: 'none', enable_thinking: true }, null]);
  });

  it('are never templates', async () => {
    for (const field of ['chat_template', 'messages', 'tools', 'add_generation_prompt']) {
      const response = await postChat(qwen.origin, { [field]: '{{ 1 }}' });
      expect(response.status).toBe(400);
    }
  });
});
