/** One way to ask both routes, whole and streamed, and one shape for what they answer. */
import { expect } from 'vitest';

export const modes = ['chat', 'chat streamed', 'completions', 'completions streamed'] as const;
export type Mode = (typeof modes)[number];

export interface Choice {
  text: string;
  finishReason: string | null;
  stopReason: unknown;
  /** As the route gives them, those of chunks joined. */
  logprobs: { token: string; logprob: number | null }[] | null;
  tokenIds: number[] | null;
}
export interface Answer {
  status: number;
  headers: Headers;
  id: string;
  choices: Choice[];
  usage: Record<string, unknown> | null;
  /** Chunks with text, where it was streamed. */
  chunks: number;
}

interface RawChoice {
  index: number;
  text?: string;
  message?: { role: string; content: string | null };
  delta?: { content?: string };
  finish_reason: string | null;
  stop_reason?: unknown;
  logprobs: {
    content?: { token: string; logprob: number }[];
    tokens?: string[];
    token_logprobs?: (number | null)[];
  } | null;
  token_ids?: number[];
}
interface RawBody {
  id: string;
  object: string;
  created: number;
  model: string;
  system_fingerprint: string;
  choices: RawChoice[];
  usage?: Record<string, unknown> | null;
}

export const isChat = (mode: Mode) => mode.startsWith('chat');
export const isStreamed = (mode: Mode) => mode.endsWith('streamed');

/** Asks, and checks what every answer must have. */
export async function ask(origin: string, mode: Mode, fields: object): Promise<Answer> {
  const response = await fetch(`${origin}/v1/${isChat(mode) ? 'chat/completions' : 'completions'}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(isStreamed(mode) ? { ...fields, stream: true } : fields),
  });
  const { status, headers } = response;
  const text = await response.text();
  expect([status, status === 200 ? '' : text]).toEqual([200, '']);
  expect(headers.get('content-type')).toContain(isStreamed(mode) ? 'text/event-stream' : 'application/json');
  const bodies = isStreamed(mode) ? readEvents(text) : [JSON.parse(text) as RawBody];
  for (const body of bodies) checkBody(body, mode, bodies[0]!);
  const choices = collect(bodies);
  const last = bodies.findLast(({ usage }) => usage !== undefined && usage !== null);
  const chunks = bodies.filter(body => body.choices.some(choice => contentOf(choice) !== '')).length;
  return { status, headers, id: bodies[0]!.id, choices, usage: last?.usage ?? null, chunks };
}

function readEvents(text: string): RawBody[] {
  const events = text.split('\n\n');
  expect(events.slice(-2)).toEqual(['data: [DONE]', '']);
  return events.slice(0, -2).map(event => JSON.parse(event.slice('data: '.length)) as RawBody);
}

function checkBody(body: RawBody, mode: Mode, first: RawBody): void {
  const objects: Record<Mode, string> = {
    chat: 'chat.completion',
    'chat streamed': 'chat.completion.chunk',
    completions: 'text_completion',
    'completions streamed': 'text_completion',
  };
  expect(body).toMatchObject({
    object: objects[mode],
    id: expect.stringMatching(isChat(mode) ? /^chatcmpl-./ : /^cmpl-./),
    created: expect.any(Number),
    model: 'tiny',
    system_fingerprint: expect.stringMatching(/^fp_[0-9a-f]{8}$/),
  });
  expect([body.id, body.created]).toEqual([first.id, first.created]);
  for (const choice of body.choices) {
    expect(choice).toHaveProperty('finish_reason');
    expect(choice).toHaveProperty('logprobs');
    if (mode === 'chat') expect(choice.message).toMatchObject({ role: 'assistant', content: expect.any(String) });
  }
}

function contentOf(choice: RawChoice): string {
  return choice.text ?? choice.message?.content ?? choice.delta?.content ?? '';
}

function collect(bodies: readonly RawBody[]): Choice[] {
  const choices: Choice[] = [];
  for (const raw of bodies.flatMap(body => body.choices)) {
    choices[raw.index] ??= { text: '', finishReason: null, stopReason: null, logprobs: null, tokenIds: null };
    const choice = choices[raw.index]!;
    // Nothing may follow the end of a choice.
    expect(choice.finishReason).toBeNull();
    choice.text += contentOf(raw);
    choice.finishReason = raw.finish_reason;
    choice.stopReason = raw.stop_reason ?? null;
    const logprobs = entriesOf(raw);
    if (logprobs !== null) choice.logprobs = [...(choice.logprobs ?? []), ...logprobs];
    if (raw.token_ids) choice.tokenIds = [...(choice.tokenIds ?? []), ...raw.token_ids];
  }
  return choices;
}

function entriesOf({ logprobs }: RawChoice): Choice['logprobs'] {
  if (logprobs === null) return null;
  if (logprobs.content) return logprobs.content.map(({ token, logprob }) => ({ token, logprob }));
  return logprobs.tokens!.map((token, i) => ({ token, logprob: logprobs.token_logprobs![i]! }));
}
