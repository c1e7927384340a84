import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { goldenCase, startTinyServer, type TinyServer } from './tiny-server.ts';

let tiny: TinyServer;
beforeAll(async () => {
  tiny = await startTinyServer();
});
afterAll(() => tiny.server.close(0));

const ask = (content: string) => ({ model: 'tiny', messages: [{ role: 'user' as const, content }], temperature: 0 });
const capital = goldenCase('capital');
const question = 'What is the capital of Japan?';

describe('chat', () => {
  it('answers', async () => {
    const answer = await tiny.client.chat.completions.create(ask(question));
    expect(answer).toMatchObject({
      object: 'chat.completion',
      model: 'tiny',
      choices: [
        { index: 0, message: { role: 'assistant', content: capital.text }, finish_reason: 'stop', logprobs: null },
      ],
      usage: {
        prompt_tokens: 22,
        completion_tokens: 11,
        total_tokens: 33,
        prompt_tokens_details: { cached_tokens: 0 },
      },
    });
    expect(answer.id).toMatch(/^chatcmpl-[0-9a-f]{32}$/);
    expect(Math.abs(answer.created - Date.now() / 1000)).toBeLessThan(60);
  });

  it('streams: role first, then text, finish reason, usage, [DONE]', async () => {
    const stream = await tiny.client.chat.completions.create({
      ...ask('How do you say hello in Chinese?'),
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks[0]!.choices[0]!.delta).toEqual({ role: 'assistant', content: '' });
    expect(chunks.map(c => c.choices[0]?.delta.content ?? '').join('')).toBe('In Chinese, hello is 你好.');
    expect(chunks.flatMap(c => c.choices.map(choice => choice.finish_reason)).filter(Boolean)).toEqual(['stop']);
    const last = chunks.pop()!;
    expect(last.choices).toEqual([]);
    expect(last.usage).toMatchObject({ prompt_tokens: 23, completion_tokens: 14, total_tokens: 37 });
    for (const chunk of chunks) {
      expect(chunk.usage).toBeNull();
      expect(chunk.id).toBe(last.id);
      expect(chunk.choices[0]!.delta.content).not.toContain('\ufffd');
    }
  });

  it('streams without usage unless asked, and ends with [DONE]', async () => {
    const response = await fetch(`${tiny.origin}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...ask(question), stream: true }),
    });
    const text = await response.text();
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(text).not.toContain('usage');
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
    for (const event of text.split('\n\n').slice(0, -2)) JSON.parse(event.slice('data: '.length));
  });

  it('gives log-probabilities per token, the same whole and streamed', async () => {
    const fields = { ...ask('Show me a rocket emoji.'), logprobs: true, top_logprobs: 2 };
    const whole = (await tiny.client.chat.completions.create(fields)).choices[0]!.logprobs!.content!;
    const emoji = goldenCase('emoji');
    expect(whole.length).toBe(emoji.tokenIds.length);
    whole.forEach((entry, i) => {
      expect(entry.logprob).toBeCloseTo(emoji.tokenLogprobs[i]!, 3);
      expect(entry.top_logprobs.length).toBe(2);
      expect(entry.top_logprobs[0]!.logprob).toBeGreaterThanOrEqual(entry.top_logprobs[1]!.logprob);
    });
    // The last token ends the answer: a special token, whose bytes are its name.
    const text = new TextDecoder().decode(Uint8Array.from(whole.slice(0, -1).flatMap(entry => entry.bytes!)));
    expect(text).toBe('Here is a rocket: 🚀');
    const stream = await tiny.client.chat.completions.create({ ...fields, stream: true });
    const streamed = [];
    for await (const chunk of stream) streamed.push(...(chunk.choices[0]?.logprobs?.content ?? []));
    expect(streamed).toEqual(whole);
  });

  it('gives n choices, and the same ones again for the same seed', async () => {
    const fields = { ...ask('Tell me a story.'), temperature: 1.5, n: 3, seed: 7, max_tokens: 12 };
    const whole = await tiny.client.chat.completions.create(fields);
    const texts = whole.choices.map(choice => choice.message.content);
    expect(whole.choices.map(choice => choice.index)).toEqual([0, 1, 2]);
    expect(new Set(texts).size).toBeGreaterThan(1);
    expect(whole.usage!.completion_tokens).toBe(36);
    const streamed = ['', '', ''];
    const roles: number[] = [];
    const stream = await tiny.client.chat.completions.create({ ...fields, stream: true });
    for await (const { choices } of stream) {
      for (const { index, delta } of choices) {
        if (delta.role) roles.push(index);
        streamed[index] += delta.content ?? '';
      }
    }
    expect(streamed).toEqual(texts);
    expect(roles).toEqual([0, 1, 2]);
  });

  it('takes turns, system messages and text parts', async () => {
    const answer = await tiny.client.chat.completions.create({
      model: 'tiny',
      temperature: 0,
      messages: [
        { role: 'user', content: 'Hello!' },
        { role: 'assistant', content: 'Hello! How can I help you today?' },
        { role: 'user', content: [{ type: 'text', text: 'Count from 3 to 9.' }] },
      ],
    });
    expect(answer.choices[0]!.message.content).toBe(goldenCase('two-turns').text);
  });

  it('counts prompt tokens that came from the prefix cache', async () => {
    const long = `Hello! ${'a story about a dog '.repeat(12)}`;
    const turn = (last: string) => [
      { role: 'user' as const, content: long },
      { role: 'user' as const, content: last },
    ];
    const cached = async (last: string) => {
      const answer = await tiny.client.chat.completions.create({ model: 'tiny', messages: turn(last), max_tokens: 2 });
      return answer.usage!.prompt_tokens_details!.cached_tokens!;
    };
    expect(await cached('One.')).toBe(0);
    expect(await cached('Two.')).toBeGreaterThanOrEqual(48);
  });

  it('shares no cached prefix between salts', async () => {
    const long = `Salted: ${'the cat sat by the river '.repeat(12)}`;
    const cached = async (salt: string) => {
      const body = { model: 'tiny', prompt: long, max_tokens: 1, cache_salt: salt };
      return (await tiny.client.completions.create(body)).usage!.prompt_tokens_details!.cached_tokens!;
    };
    expect(await cached('a')).toBe(0);
    expect(await cached('b')).toBe(0);
    expect(await cached('a')).toBeGreaterThan(0);
  });

  it('continues a last message of the assistant', async () => {
    const body = {
      ...ask(question),
      messages: [
        { role: 'user' as const, content: question },
        { role: 'assistant' as const, content: 'The capital of' },
      ],
      continue_final_message: true,
    };
    const answer = await tiny.client.chat.completions.create(body);
    expect(answer.choices[0]!.message.content).toBe(' Japan is Tokyo.');
  });

  it('treats the spelling of special tokens in messages as text', async () => {
    const count = async (content: string) =>
      (await tiny.client.chat.completions.create({ ...ask(content), max_tokens: 1 })).usage!.prompt_tokens;
    expect(await count('<|im_end|>')).toBeGreaterThan((await count('a')) + 2);
  });
});

describe('completions', () => {
  it('takes text, ids, and lists of both', async () => {
    const { prompt, promptTokenIds, text } = goldenCase('one-token');
    for (const given of [prompt, promptTokenIds, [prompt, prompt], [promptTokenIds, promptTokenIds]]) {
      const answer = await tiny.client.completions.create({
        model: 'tiny',
        prompt: given,
        temperature: 0,
        max_tokens: 20,
      });
      expect(answer.choices.map(choice => choice.text)).toEqual(Array(answer.choices.length).fill(text));
      expect(answer.choices.map(choice => choice.index)).toEqual([...answer.choices.keys()]);
      expect(answer.usage!.prompt_tokens).toBe(promptTokenIds.length * answer.choices.length);
    }
  });

  it('generates 16 tokens unless asked', async () => {
    const answer = await tiny.client.completions.create({ model: 'tiny', prompt: 'Once upon a time', temperature: 0 });
    expect(answer.usage!.completion_tokens).toBe(16);
    expect(answer.choices[0]!.finish_reason).toBe('length');
  });

  it('streams several prompts, with the index of each', async () => {
    const prompts = ['The', 'One day, the dog'];
    const fields = { model: 'tiny', prompt: prompts, temperature: 0, max_tokens: 10 };
    const whole = await tiny.client.completions.create(fields);
    const streamed = ['', ''];
    for await (const chunk of await tiny.client.completions.create({ ...fields, stream: true })) {
      for (const choice of chunk.choices) streamed[choice.index] += choice.text;
    }
    expect(streamed).toEqual(whole.choices.map(choice => choice.text));
  });

  it('echoes the prompt, with log-probabilities and offsets in code points', async () => {
    const { prompt, promptLogprobs, promptTokenIds, tokenIds } = goldenCase('unseen-bytes');
    const fields = { model: 'tiny', prompt, temperature: 0, max_tokens: 3, echo: true, logprobs: 1 };
    const choice = (await tiny.client.completions.create(fields)).choices[0]!;
    expect(choice.text.startsWith(prompt)).toBe(true);
    const { tokens, token_logprobs, top_logprobs, text_offset } = choice.logprobs!;
    expect(tokens!.length).toBe(promptTokenIds.length + tokenIds.length);
    expect(token_logprobs![0]).toBeNull();
    expect(top_logprobs![0]).toBeNull();
    for (const [i, logprob] of promptLogprobs.entries()) {
      if (logprob !== null) expect(token_logprobs![i]).toBeCloseTo(logprob, 3);
    }
    const codePoints = [...choice.text];
    text_offset!.forEach((offset, i) => {
      const token = tokens![i]!;
      if (!token.startsWith('bytes:') && !token.startsWith('<|')) {
        expect(codePoints.slice(offset, offset + [...token].length).join('')).toBe(token);
      }
    });
    let streamed = '';
    const logprobs: unknown[] = [];
    for await (const chunk of await tiny.client.completions.create({ ...fields, stream: true })) {
      streamed += chunk.choices[0]!.text;
      logprobs.push(...(chunk.choices[0]!.logprobs?.token_logprobs ?? []));
    }
    expect(streamed).toBe(choice.text);
    expect(logprobs).toEqual(token_logprobs);
  });

  it('returns token ids and prompt log-probabilities when asked', async () => {
    const { prompt, promptTokenIds, tokenIds, promptLogprobs } = goldenCase('one-token');
    const body = {
      model: 'tiny',
      prompt: `${prompt} day`,
      temperature: 0,
      max_tokens: 5,
      return_token_ids: true,
      prompt_logprobs: 0,
    };
    const answer = (await tiny.client.completions.create(body)) as unknown as {
      choices: {
        token_ids: number[];
        prompt_token_ids: number[];
        prompt_logprobs: (Record<string, { logprob: number; rank: number; decoded_token: string }> | null)[];
      }[];
    };
    const [choice] = answer.choices;
    expect(choice!.prompt_token_ids).toEqual([...promptTokenIds, tokenIds[0]]);
    expect(choice!.token_ids).toEqual(tokenIds.slice(1, 6));
    expect(promptLogprobs[0]).toBeNull();
    expect(choice!.prompt_logprobs[0]).toBeNull();
    expect(choice!.prompt_logprobs[1]).toMatchObject({ [tokenIds[0]!]: { decoded_token: ' day', rank: 1 } });
  });

  it('ends at stop strings and says which', async () => {
    const body = {
      model: 'tiny',
      prompt: 'Once upon a time',
      temperature: 0,
      max_tokens: 60,
      stop: ['never', 'named'],
    };
    const [choice] = (await tiny.client.completions.create(body)).choices as {
      text: string;
      finish_reason: string;
      stop_reason?: string;
    }[];
    expect(choice).toMatchObject({ finish_reason: 'stop', stop_reason: 'named' });
    expect(choice!.text).not.toContain('named');
  });
});

describe('errors', () => {
  it.each([
    ['an unknown model', { model: 'gpt-9' }, 404, 'model', 'model_not_found'],
    ['a temperature out of range', { temperature: 3 }, 400, 'temperature', null],
    ['a prompt beyond the context', { prompt: 'a story '.repeat(5000) }, 400, 'prompt', 'context_length_exceeded'],
    ['an empty prompt', { prompt: '' }, 400, 'prompt', null],
    ['no tokens', { prompt: [] }, 400, 'prompt', null],
  ])('throws for %s', async (_, fields, status, param, code) => {
    const request = tiny.client.completions.create({ model: 'tiny', prompt: 'a', ...fields });
    const error = await request.then(
      () => null,
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(OpenAI.APIError);
    expect(error).toMatchObject({ status, param });
    if (code !== null) expect((error as InstanceType<typeof OpenAI.APIError>).code).toBe(code);
  });

  it('says both counts when prompt and completion exceed the context', async () => {
    const request = tiny.client.completions.create({ model: 'tiny', prompt: 'The', max_tokens: 512 });
    await expect(request).rejects.toThrow(/512 tokens; you asked for 513: 1 in the prompt and 512/);
    const fits = await tiny.client.completions.create({
      model: 'tiny',
      prompt: 'The',
      max_tokens: 511,
      temperature: 0,
    });
    expect(fits.choices[0]!.finish_reason).toBe('stop');
  });

  it('lists its model, and finds it by name', async () => {
    const models = await tiny.client.models.list();
    expect(models.data.map(model => model.id)).toEqual(['tiny']);
    expect(await tiny.client.models.retrieve('tiny')).toMatchObject({
      id: 'tiny',
      object: 'model',
      max_model_len: 512,
    });
    await expect(tiny.client.models.retrieve('other')).rejects.toThrow(/does not exist/);
  });
});

it('says that a model that generates makes no embeddings', async () => {
  const asked = tiny.client.embeddings.create({ model: 'tiny', input: 'a' });
  await expect(asked).rejects.toMatchObject({ status: 400, code: 'wrong_task', param: 'model' });
});
