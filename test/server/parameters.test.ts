import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTinyServer, type TinyServer } from './tiny-server.ts';

let tiny: TinyServer;
beforeAll(async () => {
  tiny = await startTinyServer();
});
afterAll(() => tiny.server.close(0));

const CHAT = '/v1/chat/completions';
const COMPLETIONS = '/v1/completions';
const required = { [CHAT]: { messages: [{ role: 'user', content: 'Hi' }] }, [COMPLETIONS]: { prompt: 'Hi' } } as const;
type Path = keyof typeof required;

function send(path: Path, fields: object): Promise<Response> {
  return post(tiny, path, JSON.stringify({ max_tokens: 1, ...required[path], ...fields }));
}

function post({ origin }: TinyServer, path: Path, body: string, headers = {}): Promise<Response> {
  const all = { 'content-type': 'application/json', ...headers };
  return fetch(origin + path, { method: 'POST', headers: all, body });
}

/** Values that no field of this type takes. */
const notNumber = ['1', true, [], {}];
const notInteger = [...notNumber, 1.5];
const notText = [1, true, {}];
const notFlag = ['true', 1, [], {}];
const call = { type: 'function', function: { name: 'f', parameters: {} } };

/** Fields of both routes with values that must be refused. */
const shared: Record<string, readonly unknown[]> = {
  n: [...notInteger, 0, -1, 129, 1e9],
  temperature: [...notNumber, -0.1, 2.1],
  top_p: [...notNumber, 0, -1, 1.01],
  presence_penalty: [...notNumber, -2.01, 2.01],
  frequency_penalty: [...notNumber, -2.01, 2.01],
  seed: [...notInteger, 2 ** 60],
  stop: [1, true, {}, '', [''], [1], ['a', '']],
  logit_bias: ['a', 1, [1], { a: 1 }, { 1024: 1 }, { '-1': 1 }, { 5: 'x' }],
  top_k: [...notInteger, -2],
  min_p: [...notNumber, -0.01, 1.01],
  repetition_penalty: [...notNumber, 0, -1],
  stop_token_ids: [1, 'a', {}, [1024], [-1], [1.5], ['1'], [2 ** 31]],
  ignore_eos: notFlag,
  min_tokens: [...notInteger, -1, 2],
  include_stop_str_in_output: notFlag,
  skip_special_tokens: notFlag,
  prompt_logprobs: [...notInteger, -2, 21],
  return_token_ids: notFlag,
  max_tokens: [...notInteger, 0, -1, 513, 1e9],
  model: notText,
  stream: notFlag,
  stream_options: [true, 'a', [], { include_usage: true }],
  cache_salt: [...notText, ''],
  best_of: [...notInteger, 0, -1, 129, 1e9],
  use_beam_search: ['true', 1, [], {}],
  length_penalty: [2, ...notNumber],
  early_stopping: [true, 'always', 1],
  allowed_token_ids: ['a', 1, {}, [], [1024], [-1], [1.5], ['1'], [2 ** 31]],
  bad_words: ['a', 1, {}, [''], [1], Array(129).fill('a')],
  logprob_token_ids: ['a', 1, {}, [1024], [-1], [1.5], Array.from({ length: 129 }, (_, id) => id)],
  truncate_prompt_tokens: [...notInteger, 0, -2, 512, 1e9],
  spaces_between_special_tokens: notFlag,
  priority: [...notInteger, 5, -1, 2 ** 60],
  structured_outputs: [
    'a',
    [],
    {},
    { json: {}, regex: 'a' },
    { json: 5 },
    { json: { type: 'wizard' } },
    { regex: '(' },
    { choice: [] },
    { grammar: 'root ::= (' },
    { json_object: false },
    { structural_tag: '{}' },
    { unheard_of: 1 },
  ],
  guided_json: [5, '{', { type: 'wizard' }],
  guided_regex: [1, '', '(?=a)'],
  guided_choice: ['a', [], [1], ['']],
  guided_grammar: [1, '', 'root ::= nothing'],
  response_format: [
    'text',
    {},
    { type: 'xml' },
    { type: 'structural_tag' },
    { type: 'json_schema' },
    { type: 'json_schema', json_schema: {} },
    { type: 'json_schema', json_schema: { name: 'a', schema: 'b' } },
    { type: 'json_schema', json_schema: { name: 'a', schema: { type: 'wizard' } } },
    { type: 'json_schema', json_schema: { name: 'a', schema: { type: 'string', pattern: '(a+' } } },
  ],
  detokenize: [false],
  return_tokens_as_token_ids: notFlag,
  request_id: [...notText, '', 'x'.repeat(129)],
  stream_interval: [...notInteger, 0],
  return_prompt_text: [true],
  kv_transfer_params: [{}],
  vllm_xargs: [{ a: 1 }, 1],
  repetition_detection: [{}],
  thinking_token_budget: [5, 'a', 1.5, -2],
};
const refused: Record<Path, Record<string, readonly unknown[]>> = {
  [CHAT]: {
    ...shared,
    messages: ['a', {}, [], null],
    max_completion_tokens: [...notInteger, 0, -1, 1e9],
    logprobs: notFlag,
    top_logprobs: [...notInteger, -1, 21, 5],
    add_generation_prompt: notFlag,
    continue_final_message: [...notFlag, true],
    tools: [[call], 'a', {}],
    tool_choice: ['required', call],
    functions: [[{}]],
    function_call: [{ name: 'f' }],
    audio: [{ voice: 'a' }],
    modalities: [['text', 'audio'], 'text'],
    prediction: [{ type: 'content' }],
    web_search_options: [{}],
    reasoning_effort: ['low', 'high'],
    verbosity: ['low'],
    documents: [[{}]],
    chat_template: ['{{ 1 }}'],
    chat_template_kwargs: ['a', [], { messages: 1 }, { a: {} }],
    include_reasoning: notFlag,
    parallel_tool_calls: notFlag,
    mm_processor_kwargs: [{}],
    media_io_kwargs: [{}],
    echo: notFlag,
    add_special_tokens: notFlag,
  },
  [COMPLETIONS]: {
    ...shared,
    prompt: [
      1,
      true,
      {},
      null,
      '',
      [],
      [[]],
      [''],
      ['a', 1],
      [1, 'a'],
      [1.5],
      [-1],
      [1024],
      [[1], [2 ** 31]],
      Array(257).fill('a'),
      [[[1]]],
    ],
    logprobs: [...notInteger, -2, 21],
    echo: notFlag,
    add_special_tokens: notFlag,
    suffix: ['x', 1],
    prompt_embeds: ['AAAA'],
    continue_final_message: [true],
  },
};
const paths: readonly Path[] = [CHAT, COMPLETIONS];
interface RefusedCase {
  path: Path;
  field: string;
  value: unknown;
}
const cases = paths.flatMap(path =>
  Object.entries(refused[path]).flatMap(([field, values]) =>
    values.map((value): RefusedCase => ({ path, field, value })),
  ),
);

/** Fields inside messages, by the param that the answer names. */
const badMessages: Record<string, unknown> = {
  'messages[0]': 'a',
  'messages[0].role': { role: 'wizard', content: 'a' },
  'messages[0].content': { role: 'user', content: 5 },
  'messages[0].content[0].type': { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:' } }] },
  'messages[0].content[0].text': { role: 'user', content: [{ type: 'text' }] },
  'messages[0].function_call': { role: 'assistant', content: 'a', function_call: { name: 'f' } },
  'messages[0].name': { role: 'user', content: 'a', name: 1 },
};

async function expectRefusal(response: Response, param: string) {
  const { error } = (await response.json()) as {
    error: { message: string; type: string; param: string; code: unknown };
  };
  expect([response.status, error.param, error.type]).toEqual([400, param, 'invalid_request_error']);
  expect(error.message).toContain(param.split(/[.[]/)[0]!);
  expect(error.message.length).toBeGreaterThan(param.length + 5);
}

/** Refusals that share the turns of the loop which the stream leaves. */
const AT_ONCE = 8;

describe('wrong fields', () => {
  it(`are 400 and name the field (${cases.length} cases), while a stream runs beside them unharmed`, async () => {
    const story = { temperature: 0, max_tokens: 200, ignore_eos: true, stream: true };
    const deltas = async () => {
      const text = await (await send(COMPLETIONS, { ...story, prompt: 'Once upon a time' })).text();
      return Array.from(text.matchAll(/"text":("(?:[^"\\]|\\.)*")/g), match => JSON.parse(match[1]!) as string).join(
        '',
      );
    };
    const alone = await deltas();
    expect(alone.length).toBeGreaterThan(300);
    let streaming = true;
    let beside = 0;
    const stream = deltas().finally(() => {
      streaming = false;
    });
    const refuse = async ({ path, field, value }: (typeof cases)[number]) => {
      if (streaming) beside++;
      await expectRefusal(await send(path, { [field]: value }), field).catch((cause: unknown) => {
        throw new Error(`${path} ${field}: ${JSON.stringify(value)?.slice(0, 80)}`, { cause });
      });
    };
    for (let first = 0; first < cases.length; first += AT_ONCE) {
      await Promise.all(cases.slice(first, first + AT_ONCE).map(refuse));
    }
    expect(await stream).toBe(alone);
    expect(beside).toBeGreaterThan(10);
  });

  it.each(Object.entries(badMessages))('%s', async (param, message) => {
    await expectRefusal(await send(CHAT, { messages: [message] }), param);
  });

  it.each(['temperature', 'top_p', 'max_tokens', 'n', 'seed'])('%s beyond the numbers of JSON', async field => {
    await expectRefusal(await post(tiny, COMPLETIONS, `{"prompt":"a","${field}":1e999}`), field);
  });

  it('prompt_logprobs with a stream', async () => {
    for (const path of [CHAT, COMPLETIONS] as const) {
      await expectRefusal(await send(path, { prompt_logprobs: 1, stream: true }), 'prompt_logprobs');
    }
  });

  it('what says the text twice, or cannot be streamed', async () => {
    const format = { type: 'json_object' };
    await expectRefusal(await send(CHAT, { response_format: format, guided_regex: 'a' }), 'guided_regex');
    await expectRefusal(await send(COMPLETIONS, { n: 1, best_of: 2, stream: true }), 'best_of');
    const beams = { use_beam_search: true, best_of: 2, temperature: 0 };
    await expectRefusal(await send(COMPLETIONS, { ...beams, stream: true }), 'use_beam_search');
    await expectRefusal(await send(COMPLETIONS, { ...beams, best_of: 1 }), 'best_of');
    await expectRefusal(
      await send(COMPLETIONS, { ...beams, structured_outputs: { regex: 'a' } }),
      'structured_outputs',
    );
    await expectRefusal(
      await send(CHAT, { stream: true, response_format: { type: 'json_schema', json_schema: { schema: false } } }),
      'response_format',
    );
  });

  it('greedy sampling of several choices', async () => {
    await expectRefusal(await send(CHAT, { n: 2, temperature: 0 }), 'n');
  });
});

/** Of this process, client and server, since then: others may have the machine. */
function cpuMilliseconds(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1000;
}

it('a million faults cost no more than reading the body', async () => {
  // Connections of its own, each used once: one that idles while bodies are made may be closed when it is used again.
  const server = await startTinyServer();
  const many = (value: string) => `[${Array(1_000_000).fill(value).join(',')}]`;
  const bodies: [Path, string][] = [
    [COMPLETIONS, `{"prompt":${many('"a"')}}`],
    [COMPLETIONS, `{"prompt":${many('[]')}}`],
    [COMPLETIONS, `{"prompt":${many('-1')}}`],
    [COMPLETIONS, `{"prompt":"a","stop":${many('1')}}`],
    [CHAT, `{"messages":${many('1')}}`],
    [CHAT, `{"messages":[{"role":"user","content":${many('{}')}}]}`],
  ];
  for (const [path, body] of bodies) {
    const before = process.cpuUsage();
    JSON.parse(body);
    const reading = cpuMilliseconds(before);
    const sent = process.cpuUsage();
    expect((await post(server, path, body, { connection: 'close' })).status).toBe(400);
    // Generous: transport; a schema that lists every fault takes ten times as long and a gigabyte.
    expect(cpuMilliseconds(sent)).toBeLessThan(1000 + 8 * reading);
  }
  await server.server.close(0);
});

describe('fields without effect', () => {
  const neutral: Record<Path, Record<string, unknown>> = {
    [CHAT]: {
      user: 'me',
      metadata: { a: 1 },
      service_tier: 'auto',
      store: false,
      modalities: ['text'],
      unheard_of: 1,
      tools: [],
      tool_choice: 'none',
      parallel_tool_calls: true,
      'chat_template_kwargs.a': 1,
    },
    [COMPLETIONS]: { user: 'me', suffix: '', detokenize: true, store: true, unheard_of: [[1]] },
  };

  it.each([CHAT, COMPLETIONS] as const)('are listed in a header (%s)', async path => {
    const { 'chat_template_kwargs.a': a, ...fields } = neutral[path];
    const response = await send(path, a === undefined ? fields : { ...fields, chat_template_kwargs: { a } });
    expect(response.status).toBe(200);
    expect(response.headers.get('x-quire-ignored-fields')?.split(', ')).toEqual(Object.keys(neutral[path]));
  });

  it('are not listed when null', async () => {
    const nulls = Object.fromEntries(Object.keys(shared).map(name => [name, null]));
    const response = await send(COMPLETIONS, { ...nulls, max_tokens: 1, unheard_of: null });
    expect(response.status).toBe(200);
    expect(response.headers.get('x-quire-ignored-fields')).toBeNull();
  });

  it('cannot forge headers with their names', async () => {
    const response = await send(COMPLETIONS, { 'a\r\nset-cookie: x': 1, __proto__x: 1 });
    expect(response.headers.get('x-quire-ignored-fields')).toBe('a??set-cookie??x, __proto__x');
    expect(response.headers.get('set-cookie')).toBeNull();
  });

  it('are errors with --strict, which name the field that was meant', async () => {
    const strict = await startTinyServer({ strict: true });
    try {
      const post = (fields: object) =>
        fetch(`${strict.origin}${COMPLETIONS}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ prompt: 'a', max_tokens: 1, ...fields }),
        });
      const response = await post({ temprature: 0 });
      await expectRefusal(response.clone(), 'temprature');
      expect(await response.text()).toContain('Did you mean');
      await expectRefusal(await post({ user: 'me' }), 'user');
      expect((await post({ top_p: 0.5 })).status).toBe(200);
    } finally {
      await strict.server.close(0);
    }
  });
});
