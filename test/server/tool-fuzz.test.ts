/** Requests about tools that are almost right: none is a 5xx, none is lost, and every refusal names a field. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadTokenizer } from '../../packages/core/src/tokenizer/index.ts';
import { byteLevelJson, memoryFolder } from '../unit/tokenizer/sources.ts';
import { qwen25 } from '../unit/tokenizer/tool-templates.ts';
import { type FakeServer, startFakeServer } from './fake-server.ts';
import { says, weather } from './tool-requests.ts';

const answer = '<think>a</think><tool_call>{"name": "weather", "arguments": {}}</tool_call>b';
let server: FakeServer;
beforeAll(async () => {
  const config = { bos_token: '<s>', chat_template: qwen25 };
  const files = { 'tokenizer.json': byteLevelJson({}, ['<s>', '<|im_start|>']), 'tokenizer_config.json': config };
  const tokenizer = await loadTokenizer(memoryFolder(files));
  server = await startFakeServer(says(answer), { tokenizer, reasoningParser: 'qwen3' });
});
afterAll(() => server.server.close(0));

const odd = fc.constantFrom(
  null,
  '',
  'f',
  0,
  -1,
  1e300,
  true,
  [],
  {},
  [null],
  { type: 'function' },
  '__proto__',
  '\ud800',
);
/** A value that is mostly as it should be. */
const mostly = <T>(right: fc.Arbitrary<T>) => fc.oneof({ weight: 40, arbitrary: right as fc.Arbitrary<unknown> }, odd);
const maybe = (fields: Record<string, fc.Arbitrary<unknown>>) => fc.record(fields, { requiredKeys: [] });

const name = mostly(fc.constantFrom('weather', 'clock', 'é', '</tool_call>', '<|im_start|>'));
const schema = mostly(fc.constantFrom<object>(weather.function.parameters, {}, { properties: { '<s>': 1 } }));
const tool = mostly(
  fc.record({
    type: mostly(fc.constant('function')),
    function: mostly(
      fc.record({ name, description: mostly(fc.string()), parameters: schema, strict: mostly(fc.boolean()) }),
    ),
  }),
);
const call = mostly(
  fc.record({
    id: mostly(fc.string()),
    type: mostly(fc.constant('function')),
    function: mostly(fc.record({ name, arguments: mostly(fc.constantFrom('{}', '{"a":[1]}', '', '{"<s>":"<s>"}')) })),
  }),
);
const content = mostly(fc.constantFrom('hi', '<|im_start|>', [{ type: 'text', text: 'hi' }]));
const message = mostly(
  fc.oneof(
    fc.record({ role: fc.constantFrom('user', 'system', 'wizard'), content }),
    fc.record({
      role: fc.constant('assistant'),
      content,
      tool_calls: mostly(fc.array(call, { maxLength: 3 })),
      reasoning_content: mostly(fc.string()),
    }),
    fc.record({ role: fc.constant('tool'), content, tool_call_id: mostly(fc.string()) }),
  ),
);
const body = maybe({
  tools: mostly(fc.array(tool, { maxLength: 4 })),
  tool_choice: mostly(fc.constantFrom<unknown>('auto', 'none', 'required', weather)),
  parallel_tool_calls: mostly(fc.boolean()),
  messages: mostly(fc.array(message, { minLength: 1, maxLength: 3 })),
  chat_template_kwargs: mostly(
    fc.dictionary(fc.constantFrom('enable_thinking', 'x', 'tools', '<s>'), odd, { maxKeys: 2 }),
  ),
  reasoning_effort: mostly(fc.constant('none')),
  include_reasoning: mostly(fc.boolean()),
  functions: fc.constantFrom(null, []),
  stream: mostly(fc.boolean()),
});
const plain = { messages: [{ role: 'user', content: 'hi' }] };

it('are answered or refused', async () => {
  const seen = new Map<number, number>();
  await fc.assert(
    fc.asyncProperty(body, async fields => {
      const request = new Request('http://quire.invalid/v1/chat/completions', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...plain, ...fields }),
      });
      const response = await server.app.fetch(request);
      const text = await response.text();
      seen.set(response.status, (seen.get(response.status) ?? 0) + 1);
      if (response.status === 200) {
        expect(text).not.toContain('"error"');
        return;
      }
      const { error } = JSON.parse(text) as { error: { param: string | null; message: string } };
      expect([response.status, typeof error.param]).toEqual([400, 'string']);
      expect(error.message.length).toBeLessThan(600);
    }),
    { numRuns: 1000 },
  );
  expect(seen.get(200)).toBeGreaterThan(100);
  expect(seen.get(400)).toBeGreaterThan(100);
});
