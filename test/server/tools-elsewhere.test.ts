/** Calls of tools and reasoning, in the shapes of the Responses API and of Anthropic's. */
import Anthropic from '@anthropic-ai/sdk';
import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Scripted, startScripted, weather } from './tool-requests.ts';

let fake: Scripted;
let anthropic: Anthropic;
beforeAll(async () => {
  fake = await startScripted({ toolCallParser: 'hermes', reasoningParser: 'qwen3' });
  anthropic = new Anthropic({ baseURL: fake.origin, apiKey: 'none', maxRetries: 0 });
});
afterAll(() => fake.server.close(0));

const { name, description, parameters } = weather.function;
const args = { city: 'Oslo', days: 3 };
const said = `<think>Far north.</think>I look.<tool_call>{"name": "weather", "arguments": ${JSON.stringify(args)}}</tool_call>`;

describe('Anthropic', () => {
  const tools = [{ name, description, input_schema: { ...parameters, required: [...parameters.required] } }];
  const ask = { model: 'fake', max_tokens: 400, messages: [{ role: 'user' as const, content: 'Weather?' }] };
  const content = [
    { type: 'thinking', thinking: 'Far north.' },
    { type: 'text', text: 'I look.' },
    { type: 'tool_use', name: 'weather', input: args, id: expect.stringMatching(/^toolu_/) },
  ];

  it.each([1, 7, 1000])('gives blocks, whole and streamed (pieces of %i)', async size => {
    fake.say(said, size);
    const whole = await anthropic.messages.create({ ...ask, tools });
    expect(whole).toMatchObject({ content, stop_reason: 'tool_use' });
    expect(await anthropic.messages.stream({ ...ask, tools }).finalMessage()).toMatchObject({
      content,
      stop_reason: 'tool_use',
    });
    expect(fake.rendered().options.tools).toEqual([{ type: 'function', function: { name, description, parameters } }]);
  });

  it('takes blocks back', async () => {
    fake.say('Cold.');
    const use = { type: 'tool_use' as const, id: 'toolu_1', name: 'weather', input: args };
    const result = { type: 'tool_result' as const, tool_use_id: 'toolu_1', content: 'minus five' };
    await anthropic.messages.create({
      ...ask,
      tools,
      messages: [
        ...ask.messages,
        { role: 'assistant', content: [{ type: 'thinking', thinking: 'Hm.', signature: '' }, use] },
        { role: 'user', content: [result, { type: 'text', text: 'And?' }] },
      ],
    });
    expect(fake.rendered().messages).toEqual([
      { role: 'user', content: 'Weather?' },
      {
        role: 'assistant',
        content: '',
        reasoning: 'Hm.',
        toolCalls: [{ id: 'toolu_1', name: 'weather', arguments: args }],
      },
      { role: 'tool', content: 'minus five', toolCallId: 'toolu_1' },
      { role: 'user', content: 'And?' },
    ]);
  });

  it.each<[Anthropic.ToolChoice, object]>([
    [{ type: 'any' }, { tool_choice: 'required' }],
    [{ type: 'tool', name: 'weather' }, { tool_choice: 'weather' }],
  ])('chooses: %j', async choice => {
    fake.say(`<tool_call>{"name": "weather", "arguments": ${JSON.stringify(args)}}</tool_call>`);
    const message = await anthropic.messages.create({ ...ask, tools, tool_choice: choice });
    expect(message.content).toMatchObject([{ type: 'tool_use', name: 'weather', input: args }]);
    expect(fake.engine.requests.at(-1)!.params.structuredOutputs).toBeDefined();
  });

  it('names a tool that is unknown', async () => {
    const body = { ...ask, tools, tool_choice: { type: 'tool' as const, name: 'clock' } };
    await expect(anthropic.messages.create(body)).rejects.toThrow(Anthropic.BadRequestError);
  });
});

describe('Responses', () => {
  const tools: OpenAI.Responses.FunctionTool[] = [
    { type: 'function', name, description, parameters: { ...parameters }, strict: null },
  ];
  const output = [
    { type: 'reasoning', content: [{ type: 'reasoning_text', text: 'Far north.' }] },
    { type: 'message', content: [{ type: 'output_text', text: 'I look.' }] },
    {
      type: 'function_call',
      name: 'weather',
      arguments: JSON.stringify(args),
      call_id: expect.stringMatching(/^call_/),
    },
  ];

  it.each([1, 7, 1000])('gives items, whole and streamed (pieces of %i)', async size => {
    fake.say(said, size);
    const whole = await fake.client.responses.create({ model: 'fake', input: 'Weather?', tools });
    expect(whole.output).toMatchObject(output);
    const stream = fake.client.responses.stream({ model: 'fake', input: 'Weather?', tools });
    const numbers: number[] = [];
    stream.on('event', event => numbers.push(event.sequence_number));
    expect((await stream.finalResponse()).output).toMatchObject(output);
    expect(numbers).toEqual(numbers.map((_, i) => i));
  });

  it('takes the result of a call of an earlier response', async () => {
    fake.say(said);
    const first = await fake.client.responses.create({ model: 'fake', input: 'Weather?', tools });
    const call = first.output.find(item => item.type === 'function_call')!;
    fake.say('Cold.');
    const next = await fake.client.responses.create({
      model: 'fake',
      previous_response_id: first.id,
      tools,
      input: [{ type: 'function_call_output', call_id: call.call_id, output: 'minus five' }],
    });
    expect(next.output_text).toBe('Cold.');
    expect(fake.rendered().messages).toEqual([
      { role: 'user', content: 'Weather?' },
      {
        role: 'assistant',
        content: 'I look.',
        reasoning: 'Far north.',
        toolCalls: [{ id: call.call_id, name: 'weather', arguments: args }],
      },
      { role: 'tool', content: 'minus five', toolCallId: call.call_id },
    ]);
  });
});
