import { expect, it } from 'vitest';
import { ChatTemplate } from '../../../packages/core/src/tokenizer/chat/chat-template.ts';
import { chatFeatures } from '../../../packages/server/src/openai/chat-features.ts';
import { llama31, qwen25, typeScript } from '../tokenizer/tool-templates.ts';

const facts = (source: string) => ({ source, names: new ChatTemplate(source).names });

it.each([
  ['qwen25', qwen25, 'hermes'],
  ['llama31', llama31, 'llama3_json'],
  ['one that shows no calls', typeScript, null],
  ['one without tools', '<tool_call> "arguments" {{ messages }}', null],
])('takes the way of calling from a template where it is plain: %s', (_, template, toolCalls) => {
  const found = chatFeatures({}, facts(template));
  expect(found).toEqual({ toolCalls, autoToolChoice: toolCalls !== null, reasoning: null });
});

it('takes it from the operator first', () => {
  expect(chatFeatures({ toolCallParser: 'hermes' }, facts(llama31))).toMatchObject({ toolCalls: 'hermes' });
  expect(chatFeatures({ enableAutoToolChoice: false }, facts(qwen25))).toMatchObject({
    toolCalls: 'hermes',
    autoToolChoice: false,
  });
  expect(chatFeatures({ toolCallParser: 'hermes', reasoningParser: 'qwen3' }, null)).toEqual({
    toolCalls: 'hermes',
    autoToolChoice: true,
    reasoning: 'qwen3',
  });
  expect(() => chatFeatures({ enableAutoToolChoice: true }, null)).toThrow(/hermes or llama3_json/);
});
