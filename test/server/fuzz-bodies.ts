/** Random request bodies: right ones with fields changed, added and left out, and bytes changed after that. */

/** Small fast generator of 32-bit integers (Mulberry32). */
export function generator(state: number): () => number {
  let s = state >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), s | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
}

const messages = [{ role: 'user', content: 'Hi' }];
const call = { type: 'function', function: { name: 'f', parameters: { type: 'object', properties: {} } } };

/** A right body per route, and how it limits tokens. */
export const routes: Readonly<Record<string, { body: object; limit: string | null }>> = {
  '/v1/chat/completions': { body: { messages }, limit: 'max_tokens' },
  '/v1/completions': { body: { prompt: 'Hi' }, limit: 'max_tokens' },
  '/v1/responses': { body: { input: 'Hi' }, limit: 'max_output_tokens' },
  '/v1/messages': { body: { messages }, limit: 'max_tokens' },
  '/v1/messages/count_tokens': { body: { messages }, limit: null },
  '/v1/chat/completions/render': { body: { messages }, limit: 'max_tokens' },
  '/v1/completions/render': { body: { prompt: 'Hi' }, limit: 'max_tokens' },
  '/tokenize': { body: { prompt: 'Hi' }, limit: null },
  '/detokenize': { body: { tokens: [375, 372] }, limit: null },
};

const fields = [
  'model messages prompt input tokens system instructions max_tokens max_completion_tokens max_output_tokens stream',
  'stream_options n best_of temperature top_p top_k min_p presence_penalty frequency_penalty repetition_penalty seed',
  'stop stop_sequences stop_token_ids logit_bias logprobs top_logprobs prompt_logprobs echo suffix ignore_eos min_tokens',
  'skip_special_tokens spaces_between_special_tokens include_stop_str_in_output allowed_token_ids bad_words',
  'logprob_token_ids truncate_prompt_tokens priority cache_salt response_format structured_outputs guided_json',
  'guided_regex guided_choice guided_grammar tools tool_choice parallel_tool_calls functions function_call reasoning',
  'reasoning_effort include_reasoning chat_template chat_template_kwargs documents add_generation_prompt',
  'continue_final_message add_special_tokens return_token_ids return_tokens_as_token_ids stream_interval request_id',
  'user metadata store service_tier previous_response_id include text background truncation thinking container',
  'use_beam_search length_penalty early_stopping detokenize vllm_xargs kv_transfer_params return_token_strs',
  '__proto__ constructor toString hasOwnProperty unheard_of',
].flatMap(line => line.split(' '));

const values: readonly unknown[] = [
  ...[
    null,
    true,
    false,
    0,
    1,
    2,
    3,
    -1,
    -0,
    0.5,
    1.5,
    20,
    21,
    128,
    129,
    512,
    513,
    1023,
    1024,
    2 ** 31,
    2 ** 53,
    -(2 ** 63),
  ],
  ...[
    1e-9,
    1e308,
    '',
    ' ',
    'a',
    '1',
    'tiny',
    'none',
    'auto',
    'required',
    'NaN',
    'x'.repeat(300),
    '\u0000',
    '\ud800',
    '🦊',
  ],
  ...[
    '<|im_end|>',
    '<|im_start|>system\n',
    '{{ 7 * 7 }}',
    '{% for i in range(10 ** 9) %}{% endfor %}',
    '(a+)+b',
    '(?=a)',
    '[',
  ],
  ...['root ::= root', 'root ::= "a"', '\r\nset-cookie: a', '../../etc/passwd', 'http://169.254.169.254/'],
  ...[
    [],
    [[]],
    [null],
    [1],
    [-1],
    ['a'],
    [''],
    [1.5],
    [[1, 2], [3]],
    ['a', 1],
    Array(200).fill('a'),
    Array(300).fill(1),
  ],
  ...[
    {},
    { a: 1 },
    { type: 'json_object' },
    { type: 'text' },
    { type: 'xml' },
    { type: 'object' },
    { 5: 1 },
    { 99999: 1 },
  ],
  ...[
    { include_usage: true },
    { regex: 'a' },
    { json: { type: 'integer' } },
    { choice: ['a'] },
    { format: { type: 'text' } },
  ],
  ...[
    messages,
    [{ role: 'user' }],
    [{ role: 'tool', content: 'a' }],
    [{ role: 'user', content: [{ type: 'image_url' }] }],
  ],
  ...[
    [{ role: 'user', content: [{ type: 'text', text: 'a' }] }],
    [call],
    { type: 'function', function: { name: 'f' } },
  ],
  ...[
    [{ type: 'function', name: 'f' }],
    [{ name: 'f', input_schema: {} }],
    { type: 'any' },
    { type: 'tool', name: 'f' },
  ],
];

export interface FuzzCase {
  path: string;
  body: string | Uint8Array<ArrayBuffer>;
}

/** Case `index` of a seed. Requests that are right ask for few tokens. */
export function fuzzCase(seed: number, index: number): FuzzCase {
  const next = generator(Math.imul(seed, 0x9e3779b1) ^ index);
  const pick = <T>(list: readonly T[]): T => list[next() % list.length]!;
  const path = pick(Object.keys(routes));
  const { body, limit } = routes[path]!;
  const changed: Record<string, unknown> = { ...body, ...(limit === null ? {} : { [limit]: 2 }) };
  for (let i = next() % 5; i > 0; i--) Object.defineProperty(changed, pick(fields), property(pick(values)));
  if (next() % 20 === 0) delete changed[pick(Object.keys(changed))];
  keepSmall(changed, limit);
  const text = JSON.stringify(changed);
  return { path, body: next() % 10 === 0 ? changedBytes(text, next) : text };
}

const property = (value: unknown) => ({ value, enumerable: true, configurable: true, writable: true });

/** A request that would be answered at length is not what is looked for. */
function keepSmall(body: Record<string, unknown>, limit: string | null): void {
  if (limit === null) return;
  const names = [limit, 'max_completion_tokens'];
  for (const name of names) if (typeof body[name] === 'number' && body[name] > 4 && body[name] <= 512) body[name] = 2;
  if (body[limit] === null || body[limit] === undefined) body[limit] = 2;
  for (const name of ['n', 'best_of'])
    if (typeof body[name] === 'number' && body[name] > 3 && body[name] <= 128) body[name] = 2;
}

function changedBytes(text: string, next: () => number): Uint8Array<ArrayBuffer> {
  const bytes = [...new TextEncoder().encode(text)];
  for (let i = 1 + (next() % 4); i > 0; i--) {
    const at = next() % (bytes.length + 1);
    if (next() % 3 === 0) bytes.splice(at, 1 + (next() % 8));
    else bytes.splice(at, next() % 2, next() % 256);
  }
  return Uint8Array.from(bytes);
}
