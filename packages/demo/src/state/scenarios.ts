import type { SamplingParams } from '@quire/core';
import type { Prompt } from '../engine/messages.ts';
import type { Session } from './session.ts';

export interface ScenarioRequest {
  /** Milliseconds after the scenario began. */
  readonly at: number;
  readonly prompt: Prompt;
  readonly params: SamplingParams;
}

/** Requests to watch, and a sentence on what to look at. */
export interface Scenario {
  readonly id: string;
  readonly title: string;
  readonly look: string;
  readonly requests: readonly ScenarioRequest[];
}

const chat = (content: string, system?: string): Prompt => ({
  messages: [...(system === undefined ? [] : [{ role: 'system', content: system }]), { role: 'user', content }],
});
const greedy = (maxTokens: number): SamplingParams => ({ temperature: 0, maxTokens });
const varied = (maxTokens: number, seed: number): SamplingParams => ({ temperature: 0.8, topP: 0.95, seed, maxTokens });

const animals = ['dog', 'cat', 'fox', 'bear', 'rabbit', 'mouse', 'owl', 'frog', 'duck', 'horse', 'lion', 'turtle'];
const things = ['boat', 'ball', 'kite', 'lamp', 'book', 'drum', 'key', 'hat', 'cake', 'map', 'bell', 'box'];
const countries = ['Japan', 'France', 'Italy', 'Egypt', 'Spain', 'Canada', 'India', 'Brazil'];
const story = (i: number) => `Tell me a story about a ${animals[i % 12]} and a ${things[(i * 5) % 12]}.`;

const SYSTEM =
  'You are a kind and patient teacher who helps children with stories, sums, capitals, opposites, spelling and counting. ' +
  'You answer in short and friendly sentences, you never make fun of a question, and when you do not know something you say so. ' +
  'You like animals, boats, kites and maps, and you live in a green house by the river.';

export const scenarios: readonly Scenario[] = [
  {
    id: 'prefix',
    title: 'Shared prefix',
    look: 'Eight questions under one system prompt: its blocks are computed once and held by all (stripes). From the second request on the first token comes sooner.',
    requests: countries.map((country, i) => ({
      at: i === 0 ? 0 : 1200 + 150 * i,
      prompt: chat(`What is the capital of ${country}?`, SYSTEM),
      params: greedy(24),
    })),
  },
  {
    id: 'fork',
    title: 'Fork',
    look: 'Four samples of one prompt share its blocks. Where they begin to differ, each copies the block that it writes to: copy on write.',
    requests: [{ at: 0, prompt: chat('Tell me a story.', SYSTEM), params: { ...varied(64, 5), n: 4 } }],
  },
  {
    id: 'burst',
    title: 'Burst',
    look: 'Thirty requests at once. Some run, the others wait; as soon as one ends another starts, and prompts are computed in chunks between the decode steps of the rest.',
    requests: Array.from({ length: 30 }, (_, i) => ({ at: 0, prompt: chat(story(i)), params: varied(40, i) })),
  },
  {
    id: 'pressure',
    title: 'Pressure',
    look: 'More tokens than the pool holds. The newest request is preempted: its blocks go to the older ones, and it is computed again later, to the same text.',
    requests: Array.from({ length: 10 }, (_, i) => ({
      at: 40 * i,
      prompt: chat(story(i), SYSTEM.slice(0, 60 + 20 * i)),
      params: { ...varied(110, 40 + i), ignoreEos: true },
    })),
  },
  {
    id: 'mixed',
    title: 'Long and short',
    look: 'Long prompts arrive while short answers stream. Chunks of a prompt share their steps with the decode rows, so the streams do not stall.',
    requests: Array.from({ length: 12 }, (_, i) => {
      const long = i % 3 === 2;
      const prompt = long ? chat(`${story(i)} ${SYSTEM}`, SYSTEM) : chat(`Count from ${i} to ${i + 7}.`);
      return { at: 350 * i, prompt, params: long ? varied(40, i) : greedy(40) };
    }),
  },
];

/** Requests that come while others run (continuous), or one batch after the other (static), as servers did before. */
export type Batching = 'continuous' | 'static';
const STATIC_BATCH = 8;

/** Runs a scenario from an empty page. Resolves with the milliseconds that it took, or null when `signal` ended it. */
export async function runScenario(
  session: Session,
  { requests }: Scenario,
  batching: Batching,
  signal: AbortSignal,
): Promise<number | null> {
  session.clear();
  const start = performance.now();
  const run = ({ prompt, params }: ScenarioRequest) => session.generate(prompt, params).ended;
  if (batching === 'continuous') {
    await Promise.all(
      requests.map(async request => {
        if (request.at > 0) await new Promise(resolve => setTimeout(resolve, request.at));
        if (!signal.aborted) await run(request);
      }),
    );
  } else {
    for (let i = 0; i < requests.length && !signal.aborted; i += STATIC_BATCH) {
      await Promise.all(requests.slice(i, i + STATIC_BATCH).map(run));
    }
  }
  return signal.aborted ? null : performance.now() - start;
}
