/** Sampling parameters that take more than a number, over HTTP: structured outputs, bans, beams, truncation. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTinyServer, type TinyServer } from './tiny-server.ts';

let tiny: TinyServer;
beforeAll(async () => {
  tiny = await startTinyServer();
});
afterAll(() => tiny.server.close(0));

const schema = {
  type: 'object',
  properties: { name: { type: 'string', maxLength: 10 }, age: { type: 'integer', minimum: 1, maximum: 99 } },
  required: ['name', 'age'],
  additionalProperties: false,
};
const isValid = new Ajv2020().compile(schema);
const ask = { model: 'tiny', max_tokens: 120, messages: [{ role: 'user' as const, content: 'Who are you?' }] };
const format = { type: 'json_schema' as const, json_schema: { name: 'person', schema, strict: true } };

interface Completion {
  choices: {
    text: string;
    finish_reason: string;
    logprobs: { tokens: string[]; top_logprobs: object[] } | null;
    token_ids: number[];
  }[];
  usage: { prompt_tokens: number };
}
async function complete(fields: object): Promise<Completion> {
  const body = JSON.stringify({ prompt: 'Once upon a time', max_tokens: 60, ...fields });
  const response = await fetch(`${tiny.origin}/v1/completions`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json' },
  });
  expect(response.status, await response.clone().text()).toBe(200);
  return (await response.json()) as Completion;
}

describe('response_format', () => {
  it('json_schema, whole and streamed, through the official client', async () => {
    const whole = await tiny.client.chat.completions.create({ ...ask, response_format: format });
    expect(isValid(JSON.parse(whole.choices[0]!.message.content!))).toBe(true);
    expect(whole.choices[0]!.finish_reason).toBe('stop');
    const stream = await tiny.client.chat.completions.create({ ...ask, response_format: format, stream: true });
    let text = '';
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
    expect(isValid(JSON.parse(text))).toBe(true);
  });

  it('json_object', async () => {
    const answer = await tiny.client.chat.completions.create({ ...ask, response_format: { type: 'json_object' } });
    const [choice] = answer.choices;
    expect(choice!.message.content![0]).toBe('{');
    if (choice!.finish_reason === 'stop') expect(JSON.parse(choice!.message.content!)).toBeTypeOf('object');
  });
});

describe('vLLM names', () => {
  it.each([
    [{ structured_outputs: { regex: '[ab]{5}' } }, /^[ab]{5}$/],
    [{ structured_outputs: { choice: ['left', 'right'] } }, /^(left|right)$/],
    [{ structured_outputs: { grammar: 'root ::= "x" [0-9]{3}' } }, /^x\d{3}$/],
    [{ guided_regex: '\\d\\d:\\d\\d' }, /^\d\d:\d\d$/],
    [{ guided_choice: ['yes', 'no'] }, /^(yes|no)$/],
    [{ guided_grammar: 'root ::= "<" [a-z] ">"' }, /^<[a-z]>$/],
    [{ guided_json: { enum: ['red', 7] } }, /^("red"|7)$/],
  ])('%j', async (fields, text) => {
    const { choices } = await complete({ ...fields, n: 2, temperature: 1 });
    for (const choice of choices)
      expect([choice.text, choice.finish_reason]).toEqual([expect.stringMatching(text), 'stop']);
  });

  it('bans, allowed ids, log-probabilities of given ids, the best of several', async () => {
    const greedy = { temperature: 0, max_tokens: 12, ignore_eos: true, return_token_ids: true };
    const plain = await complete(greedy);
    const word = plain.choices[0]!.text.match(/[a-z]{4,}/)![0];
    const banned = await complete({ ...greedy, bad_words: [word] });
    expect(banned.choices[0]!.text).not.toContain(word);
    const allowed = await complete({ ...greedy, allowed_token_ids: [300, 400] });
    for (const id of allowed.choices[0]!.token_ids) expect([300, 400]).toContain(id);
    const listed = await complete({ ...greedy, logprob_token_ids: [300, 400, 500] });
    for (const top of listed.choices[0]!.logprobs!.top_logprobs)
      expect(Object.keys(top).length).toBeGreaterThanOrEqual(3);
    const best = await complete({ n: 2, best_of: 4, temperature: 1.2, seed: 3 });
    expect(best.choices).toHaveLength(2);
    const beams = await complete({ use_beam_search: true, best_of: 3, n: 2, temperature: 0, length_penalty: 1.2 });
    expect(beams.choices).toHaveLength(2);
  });

  it('truncate_prompt_tokens keeps the end of a prompt, also of one beyond the context', async () => {
    const long = 'One day, the dog '.repeat(300);
    expect((await complete({ prompt: long, truncate_prompt_tokens: 7, max_tokens: 2 })).usage.prompt_tokens).toBe(7);
    expect((await complete({ prompt: long, truncate_prompt_tokens: -1, max_tokens: 12 })).usage.prompt_tokens).toBe(
      500,
    );
    expect(
      (await complete({ prompt: [300, 301, 302], truncate_prompt_tokens: 2, max_tokens: 2 })).usage.prompt_tokens,
    ).toBe(2);
  });
});
