/** What the fields of both routes do, whole and streamed: status, shape and, as all is greedy, text. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, ask, isChat, isStreamed, type Mode, modes } from './api-answers.ts';
import { type GoldenCase, goldenCase, startTinyServer, type TinyServer } from './tiny-server.ts';

let tiny: TinyServer;
beforeAll(async () => {
  // Small blocks: of the prompt, which is the same again and again, all but two tokens are found in the cache.
  // Answers are so short that most of the work would be what is computed ahead of their ends.
  tiny = await startTinyServer({ enableRequestIdHeaders: true, blockSize: 2, asyncScheduling: false });
});
afterAll(() => tiny.server.close(0));

const capital = goldenCase('capital');
const TEXT = capital.text;
/** Tokens of the answer, the last of which ends it and is not shown. */
const IDS = capital.tokenIds;

/** The request of a golden case for a route: chat gets the messages that the template makes the prompt of. */
function promptOf({ prompt }: GoldenCase, mode: Mode): object {
  if (!isChat(mode)) return { prompt };
  const turns = [...prompt.matchAll(/<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>/gs)];
  return { messages: turns.map(([, role, content]) => ({ role, content })) };
}

const run = (mode: Mode, fields: object, golden = capital) =>
  ask(tiny.origin, mode, { temperature: 0, max_tokens: 40, ...promptOf(golden, mode), ...fields });
const firstTokens = (count: number) => tiny.server.engine.tokenizer!.decode(IDS.slice(0, count));

interface Case {
  fields: object;
  /** Default: the golden text. */
  text?: string | RegExp | (() => string);
  finish?: string;
  stopReason?: unknown;
  /** Default: all. */
  only?: 'chat' | 'completions' | 'whole' | 'streamed';
  check?: (answer: Answer, mode: Mode) => void;
}

const ignoring =
  (...names: string[]) =>
  ({ headers }: Answer) =>
    expect(headers.get('x-quire-ignored-fields')).toBe(names.join(', '));
const logprobs = (count: number) => (mode: Mode) =>
  isChat(mode) ? { logprobs: true, top_logprobs: count } : { logprobs: count };
const json = (text: string) => JSON.parse(text) as unknown;
const schema = { type: 'object', properties: { a: { type: 'boolean' } }, required: ['a'], additionalProperties: false };

const cases: Record<string, Case> = {
  'nothing more': { fields: {} },
  'no limit': { fields: { max_tokens: null } },
  'model named': { fields: { model: 'tiny' } },
  'model empty': { fields: { model: '' } },
  'model null': { fields: { model: null } },
  ...Object.fromEntries(
    [1, 2, 3, 5, 8].map(n => [
      `max_tokens ${n}`,
      { fields: { max_tokens: n }, text: () => firstTokens(n), finish: 'length' },
    ]),
  ),
  'max_tokens of the whole answer': { fields: { max_tokens: IDS.length } },
  'max_completion_tokens before max_tokens': {
    fields: { max_completion_tokens: 2, max_tokens: 9 },
    text: () => firstTokens(2),
    finish: 'length',
    only: 'chat',
  },
  stop: { fields: { stop: 'Japan' }, text: 'The capital of ', stopReason: 'Japan' },
  'stop within a token': { fields: { stop: 'apit' }, text: 'The c', stopReason: 'apit' },
  'stop across tokens': { fields: { stop: 'of Japan is' }, text: 'The capital ', stopReason: 'of Japan is' },
  'several stops': { fields: { stop: ['zzz', ' is', 'Tokyo'] }, text: 'The capital of Japan', stopReason: ' is' },
  'a stop that does not come': { fields: { stop: ['Osaka'] } },
  'a stop that begins and breaks off': { fields: { stop: ['Japan was'] } },
  'a stop that is shown': {
    fields: { stop: ' of', include_stop_str_in_output: true },
    text: 'The capital of',
    stopReason: ' of',
  },
  'a stop before min_tokens': { fields: { stop: 'The', min_tokens: 4 } },
  stop_token_ids: { fields: { stop_token_ids: [IDS[2]] }, text: () => firstTokens(2), stopReason: IDS[2] },
  'stop_token_ids that do not come': { fields: { stop_token_ids: [1023] } },
  ignore_eos: {
    fields: { ignore_eos: true, max_tokens: IDS.length + 2 },
    text: /^The capital of Japan is Tokyo\./,
    finish: 'length',
  },
  min_tokens: { fields: { min_tokens: 5 } },
  'top_p, top_k and min_p without sampling': { fields: { top_p: 0.1, top_k: 3, min_p: 0.2 } },
  'top_k off': { fields: { top_k: -1 } },
  'n of one': { fields: { n: 1, best_of: 1 } },
  'penalties of nothing': { fields: { presence_penalty: 0, frequency_penalty: 0, repetition_penalty: 1 } },
  ...Object.fromEntries([0, 7, -1, 2 ** 53 - 1].map(seed => [`seed ${seed}`, { fields: { seed } }])),
  'logit_bias of nothing': { fields: { logit_bias: {} } },
  'logit_bias against a token': { fields: { logit_bias: { [IDS[0]!]: -100 } }, text: /^(?!The)/ },
  'logit_bias for a token': { fields: { logit_bias: { 52: 100 }, max_tokens: 3 }, text: '111', finish: 'length' },
  allowed_token_ids: { fields: { allowed_token_ids: [...new Set(IDS)] } },
  'allowed_token_ids that force': {
    fields: { allowed_token_ids: [52], max_tokens: 4 },
    text: '1111',
    finish: 'length',
  },
  'bad_words that do not come': { fields: { bad_words: ['zebra'] } },
  'bad_words that would': { fields: { bad_words: ['Tokyo'] }, text: /^The capital of Japan is (?!Tokyo)/ },
  skip_special_tokens: { fields: { skip_special_tokens: true } },
  spaces_between_special_tokens: { fields: { spaces_between_special_tokens: false } },
  'truncate_prompt_tokens beyond the prompt': { fields: { truncate_prompt_tokens: 100 } },
  'truncate_prompt_tokens to what fits': { fields: { truncate_prompt_tokens: -1 } },
  cache_salt: { fields: { cache_salt: 'mine' } },
  priority: { fields: { priority: 0 } },
  detokenize: { fields: { detokenize: true }, check: ignoring('detokenize') },
  'a format of text': { fields: { response_format: { type: 'text' } } },
  'a format of JSON': {
    fields: { response_format: { type: 'json_object' }, max_tokens: 60 },
    text: /^\s*\{/,
    finish: 'any',
  },
  'a format of a schema': {
    fields: { response_format: { type: 'json_schema', json_schema: { name: 'a', schema } } },
    check: ({ choices }) => expect(json(choices[0]!.text)).toEqual({ a: expect.any(Boolean) }),
    text: /./,
  },
  guided_json: {
    fields: { guided_json: schema },
    check: ({ choices }) => expect(json(choices[0]!.text)).toEqual({ a: expect.any(Boolean) }),
    text: /./,
  },
  guided_regex: { fields: { guided_regex: '[0-9]{3}' }, text: /^\d{3}$/ },
  guided_choice: { fields: { guided_choice: ['Tokyo', 'Osaka'] }, text: /^(Tokyo|Osaka)$/ },
  guided_grammar: { fields: { guided_grammar: 'root ::= "ab" | "cd"' }, text: /^(ab|cd)$/ },
  'structured_outputs regex': { fields: { structured_outputs: { regex: '(yes|no)!' } }, text: /^(yes|no)!$/ },
  'structured_outputs choice': { fields: { structured_outputs: { choice: ['x'] } }, text: 'x' },
  return_token_ids: {
    fields: { return_token_ids: true },
    check: ({ choices }) => expect(choices[0]!.tokenIds).toEqual(IDS),
  },
  request_id: {
    fields: { request_id: 'order-66' },
    check: ({ id }, mode) => expect(id).toBe(isChat(mode) ? 'chatcmpl-order-66' : 'cmpl-order-66'),
  },
  ...Object.fromEntries(
    [1, 4, 100].map(interval => [
      `stream_interval ${interval}`,
      {
        fields: { stream_interval: interval },
        check: ({ chunks }: Answer, mode: Mode) => {
          if (isStreamed(mode)) expect(chunks).toBeLessThanOrEqual(1 + Math.ceil(IDS.length / interval));
        },
      },
    ]),
  ),
  include_usage: {
    fields: { stream_options: { include_usage: true } },
    only: 'streamed',
    check: ({ usage }) => expect(usage).toMatchObject({ prompt_tokens: 22, completion_tokens: IDS.length }),
  },
  continuous_usage_stats: {
    fields: { stream_options: { include_usage: true, continuous_usage_stats: true } },
    only: 'streamed',
    check: ({ usage }) => expect(usage).toMatchObject({ prompt_tokens: 22, completion_tokens: IDS.length }),
  },
  'fields of bookkeeping': {
    fields: { user: 'me', metadata: { a: 'b' }, store: true, service_tier: 'auto' },
    check: ignoring('user', 'metadata', 'store', 'service_tier'),
  },
  'fields that ask for nothing': {
    fields: { tools: [], tool_choice: 'none' },
    only: 'chat',
  },
  add_generation_prompt: { fields: { add_generation_prompt: true }, only: 'chat' },
  add_special_tokens: { fields: { add_special_tokens: true } },
  'add_special_tokens off': { fields: { add_special_tokens: false } },
  'echo of a prompt': { fields: { echo: true }, only: 'completions', text: () => capital.prompt + TEXT },
  'echo of a question adds nothing': { fields: { echo: true }, only: 'chat' },
  'beam search': {
    fields: { use_beam_search: true, best_of: 2, max_tokens: 12 },
    only: 'whole',
    text: /./,
    finish: 'any',
  },
  'every field null': {
    fields: Object.fromEntries(
      ['stop', 'seed', 'top_p', 'top_k', 'n', 'logit_bias', 'stream_options', 'echo', 'request_id', 'user'].map(
        name => [name, null],
      ),
    ),
  },
};

const kinds = {
  chat: isChat,
  completions: (mode: Mode) => !isChat(mode),
  whole: (mode: Mode) => !isStreamed(mode),
  streamed: isStreamed,
};

describe.each(modes)('%s', mode => {
  const wanted = Object.entries(cases).filter(([, { only }]) => only === undefined || kinds[only](mode));

  it.each(wanted)('%s', async (_, { fields, text = TEXT, finish = 'stop', stopReason = null, check }) => {
    const answer = await run(mode, fields);
    const [choice] = answer.choices;
    expect(answer.choices.length).toBe(1);
    if (text instanceof RegExp) expect(choice!.text).toMatch(text);
    else expect(choice!.text).toBe(typeof text === 'string' ? text : text());
    if (finish !== 'any') expect([choice!.finishReason, choice!.stopReason]).toEqual([finish, stopReason]);
    if (!isStreamed(mode)) {
      expect(answer.usage).toMatchObject({
        prompt_tokens: expect.any(Number),
        completion_tokens: expect.any(Number),
        prompt_tokens_details: { cached_tokens: expect.any(Number) },
      });
    }
    check?.(answer, mode);
  });

  it.each([0, 1, 3])('log-probabilities with %i others', async count => {
    const { choices } = await run(mode, logprobs(count)(mode));
    expect(choices[0]!.text).toBe(TEXT);
    expect(choices[0]!.logprobs!.length).toBe(IDS.length);
    for (const [i, { logprob }] of choices[0]!.logprobs!.entries()) {
      expect(logprob).toBeCloseTo(capital.tokenLogprobs[i]!, 3);
    }
  });

  it('log-probabilities by token ids', async () => {
    const { choices } = await run(mode, { ...logprobs(2)(mode), return_tokens_as_token_ids: true });
    expect(choices[0]!.logprobs!.map(({ token }) => token)).toEqual(IDS.map(id => `token_id:${id}`));
  });

  const names = ['add', 'hello-chinese', 'emoji', 'json', 'two-turns', 'spell', 'arabic'];
  const others = ['the-dog', 'one-token', 'digits', 'unseen-bytes'];
  it.each(isChat(mode) ? names : [...names, ...others])('the golden text of %s', async name => {
    const golden = goldenCase(name);
    const { choices } = await run(mode, { max_tokens: golden.maxTokens }, golden);
    expect(choices[0]!.text).toBe(golden.text);
  });

  it.each([2, 3])('%i choices, the same for the same seed', async n => {
    const fields = { n, seed: 11, temperature: 1.2, max_tokens: 8 };
    const first = await run(mode, fields);
    expect(first.choices.length).toBe(n);
    expect((await run(mode, fields)).choices).toEqual(first.choices);
  });
});

describe.each(modes.filter(mode => !isChat(mode)))('%s alone', mode => {
  it('several prompts, each with its choices in order', async () => {
    const prompt = ['add', 'spell', 'capital'].map(name => goldenCase(name).prompt);
    const { choices } = await run(mode, { prompt });
    expect(choices.map(({ text }) => text)).toEqual(['add', 'spell', 'capital'].map(name => goldenCase(name).text));
  });

  it('token ids', async () => {
    expect((await run(mode, { prompt: capital.promptTokenIds })).choices[0]!.text).toBe(TEXT);
    const both = [capital.promptTokenIds, goldenCase('add').promptTokenIds];
    expect((await run(mode, { prompt: both })).choices.map(({ text }) => text)).toEqual([TEXT, goldenCase('add').text]);
  });

  it('no tokens, but the prompt with its scores', async () => {
    const answer = await run(mode, {
      echo: true,
      max_tokens: 0,
      logprobs: 1,
      ...(isStreamed(mode) ? { stream_options: { include_usage: true } } : {}),
    });
    const [choice] = answer.choices;
    expect([choice!.text, choice!.finishReason]).toEqual([capital.prompt, 'length']);
    expect(answer.usage).toMatchObject({ prompt_tokens: 22, completion_tokens: 0, total_tokens: 22 });
    expect(choice!.logprobs!.length).toBe(22);
    for (const [i, { logprob }] of choice!.logprobs!.entries()) {
      if (i === 0) expect(logprob).toBeNull();
      else expect(logprob).toBeCloseTo(capital.promptLogprobs[i]!, 3);
    }
  });
});

describe.each(modes.filter(isChat))('%s alone', mode => {
  const begun = (beginning: string) => ({
    messages: [
      { role: 'user', content: 'What is the capital of Japan?' },
      { role: 'assistant', content: beginning },
    ],
    continue_final_message: true,
    add_generation_prompt: false,
  });

  it('goes on with a message, and with echo begins with it', async () => {
    expect((await run(mode, begun('The capital of'))).choices[0]!.text).toBe(' Japan is Tokyo.');
    expect((await run(mode, { ...begun('The capital of'), echo: true })).choices[0]!.text).toBe(TEXT);
  });
});

describe('X-Request-Id', () => {
  const send = (id: string) =>
    fetch(`${tiny.origin}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-request-id': id },
      body: JSON.stringify({ prompt: 'The', max_tokens: 2, temperature: 0 }),
    });

  it('is echoed and names the answer; equal ones do not meet', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => send('same')));
    const bodies = await Promise.all(
      answers.map(answer => answer.json() as Promise<{ id: string; choices: object[] }>),
    );
    expect(new Set(answers.map(({ status, headers }) => `${status} ${headers.get('x-request-id')}`))).toEqual(
      new Set(['200 same']),
    );
    for (const { id, choices } of bodies) expect([id, choices]).toEqual(['cmpl-same', bodies[0]!.choices]);
  });

  it.each(['two words', 'x'.repeat(129), 'ü'])('%j is not taken', async id => {
    expect((await send(id)).headers.get('x-request-id')).toMatch(/^[0-9a-f]{32}$/);
  });
});
