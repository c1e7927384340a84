/** What crosses between the engine's process and the front end: frames, records, and requests that outlive any engine. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  AsyncLLM,
  ConfigError,
  EngineError,
  type FrontRequest,
  FrontRequests,
  InvalidRequestError,
  ModelFormatError,
  parseEngineConfig,
  QuireError,
  type SamplingParams,
} from '@quire/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Blame } from '../../packages/server/src/engine-process/blame.ts';
import { fromErrorData, toErrorData } from '../../packages/server/src/engine-process/errors.ts';
import { EngineFeed } from '../../packages/server/src/engine-process/feed.ts';
import {
  encodeFrame,
  type Frame,
  FrameError,
  FrameKind,
  FrameReader,
  MAX_FRAME_BYTES,
} from '../../packages/server/src/engine-process/frames.ts';
import { decodeAsk, encodeAsk } from '../../packages/server/src/engine-process/params.ts';
import { RestartPolicy } from '../../packages/server/src/engine-process/restart-policy.ts';
import { StepReceiver } from '../../packages/server/src/engine-process/step-receiver.ts';
import { symbolicLimits } from '../support/symbolic-executor.ts';
import { EOS, engineOptions, prompt } from '../unit/engine/helpers.ts';
import { letters } from '../unit/engine/letters.ts';

describe('frames', () => {
  it('arrive whole, however the stream is cut', () => {
    const frame = fc.record({ head: fc.jsonValue({ maxDepth: 2 }), words: fc.uint32Array({ maxLength: 40 }) });
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 6 }), fc.integer({ min: 1, max: 60 }), (frames, step) => {
        const bytes = Buffer.concat(frames.map(({ head, words }) => encodeFrame(FrameKind.failure, head, words)));
        const reader = new FrameReader();
        const read: Frame[] = [];
        for (let at = 0; at < bytes.length; at += step) read.push(...reader.push(bytes.subarray(at, at + step)));
        const expected = frames.map(({ head, words }) => ({
          kind: FrameKind.failure,
          head: JSON.parse(JSON.stringify(head)),
          words,
        }));
        expect(read).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  it.each([
    ['another version', (f: Buffer) => f.writeUInt8(9, 4), 'version 9'],
    ['an unknown kind', (f: Buffer) => f.writeUInt8(99, 5), 'kind 99'],
    ['reserved bytes', (f: Buffer) => f.writeUInt16LE(1, 6), 'reserved'],
    [
      'a length beyond the bound',
      (f: Buffer) => f.writeUInt32LE(MAX_FRAME_BYTES + 4, 0),
      `more than the ${MAX_FRAME_BYTES}`,
    ],
    ['a head longer than the frame', (f: Buffer) => f.writeUInt32LE(10_000, 8), 'a head of 10000'],
    ['half a word', (f: Buffer) => f.writeUInt32LE(f.readUInt32LE(0) + 1, 0), 'no list of words'],
    ['a head that is no JSON', (f: Buffer) => f.write('}', 12), 'no JSON'],
  ] as const)('with %s are refused', (_, spoil, message) => {
    const frame = encodeFrame(FrameKind.ready, { a: 1 }, Uint32Array.of(1, 2));
    spoil(frame);
    expect(() => new FrameReader().push(frame)).toThrow(FrameError);
    expect(() => new FrameReader().push(frame)).toThrow(message);
  });
});

describe('errors cross with class, code and fields', () => {
  it.each([
    new InvalidRequestError('wrong', 'stop', 'some_code'),
    new ConfigError('wrong option', 'dtype'),
    new ModelFormatError('CONFIG_X', 'is wrong', { file: 'config.json', field: 'a', found: '1', advice: 'Do.' }),
    new EngineError('failed'),
    new QuireError('other', 'something'),
    new TypeError('a defect'),
  ])('%s', error => {
    const back = fromErrorData(JSON.parse(JSON.stringify(toErrorData(error))));
    expect([back.name, back.message, back.constructor]).toEqual([
      error.name,
      error.message,
      error instanceof TypeError ? Error : error.constructor,
    ]);
    expect({ ...back }).toMatchObject(error instanceof QuireError ? { ...error } : {});
  });
});

/** An engine over symbolic blocks behind frames, and the front end of all engines there were. */
class Wire {
  readonly front = new FrontRequests({
    limits: symbolicLimits,
    config: parseEngineConfig({}),
    tokenizer: letters,
    eosTokenIds: [EOS],
    generationConfig: null,
  });
  readonly #inside = new Map<number, FrontRequest>();
  readonly #receiver = new StepReceiver(this.front, this.#inside, {
    abort: (request, sequence) => this.#feed!.abort(request, sequence),
    progressed: () => {},
    stats: () => {},
  });
  #feed: EngineFeed | null = null;
  /** Of the engine that there is. */
  #reader: FrameReader | null = null;
  #engine: AsyncLLM | null = null;
  /** Frames of this engine that are let through. */
  #left = 0;
  frames = 0;
  #onLost: () => void = () => {};
  /** Changes a frame on its way. */
  spoil: (frame: Buffer) => Buffer = frame => frame;
  error: Error | null = null;

  /** As `run`. Ends the engine also when it has nothing left to say: a length of nonsense may have left this end waiting. */
  async runToSilence(frames: number): Promise<void> {
    let isOver = false;
    const running = this.run(frames).finally(() => {
      isOver = true;
    });
    for (let idleTurns = 0; !isOver && idleTurns < 20; idleTurns++) {
      await nextTurn();
      const { numRequestsRunning, numRequestsWaiting } = this.#engine!.stats();
      if (numRequestsRunning + numRequestsWaiting > 0) idleTurns = 0;
    }
    if (!isOver) this.#onLost();
    await running;
  }

  /** Begins with a new engine, whose process ends in the place of its `frames`-th frame. Resolves when it has, or all is done. */
  async run(frames: number): Promise<void> {
    this.#left = frames;
    const reader = new FrameReader();
    this.#reader = reader;
    const send = (frame: Buffer) => {
      if (this.#reader !== reader) return;
      if (this.#left-- <= 0) return this.#onLost();
      this.frames++;
      try {
        for (const each of reader.push(this.spoil(frame))) this.#receiver.receive(each);
      } catch (error) {
        this.error = error as Error;
        this.#left = 0;
        return this.#onLost();
      }
      if (!this.front.hasUnfinished) this.#onLost();
    };
    const over = new Promise<void>(resolve => {
      this.#onLost = resolve;
    });
    const feed = new EngineFeed({
      isFull: false,
      trace: () => {},
      step: words => send(encodeFrame(FrameKind.step, null, words)),
      stats: words => send(encodeFrame(FrameKind.heartbeat, null, words)),
      failure: failure => send(encodeFrame(FrameKind.failure, failure)),
      closed: () => {},
    });
    this.#feed = feed;
    this.#engine = new AsyncLLM({ ...engineOptions({ config: { numSchedulerSteps: 1 } }), observer: feed });
    feed.engine = this.#engine;
    this.#inside.clear();
    for (const request of this.front.unfinished) {
      this.#inside.set(request.number, request);
      const { head, words } = encodeAsk({ request: request.number, ...this.front.askOf(request) });
      feed.add(decodeAsk(JSON.parse(JSON.stringify(head)), words.slice()));
    }
    await over;
    this.#left = 0;
    this.#reader = null;
    const ended = this.#engine;
    await ended.dispose();
  }
}

const requests: SamplingParams[] = [
  { temperature: 0, maxTokens: 9, ignoreEos: true },
  { seed: 7, maxTokens: 8, minTokens: 5, stopTokenIds: [3, 4, 5, 6] },
  { maxTokens: 7 },
  { seed: 3, maxTokens: 6, logprobs: 3, promptLogprobs: 2 },
  { temperature: 0, maxTokens: 12, ignoreEos: true, stop: ['e', 'x', 'ab'] },
  { seed: 11, maxTokens: 6, n: 3, stop: ['d'] },
  { seed: 12, maxTokens: 5, n: 2, bestOf: 4 },
  { seed: 13, maxTokens: 8, badWords: ['ab'], allowedTokenIds: [0, 1, 2, 3, 4] },
  { useBeamSearch: true, temperature: 0, n: 2, bestOf: 3, maxTokens: 5, logprobs: 1 },
];

function begin(): { wire: Wire; results(): unknown } {
  const wire = new Wire();
  const groups = requests.map((params, i) => wire.front.add(prompt(6 + i), params, {}, 0).group);
  const results = () =>
    groups.map(({ sequences, promptLogprobs, error, failure }) => ({
      sequences: sequences.map(({ text, logprobs, cumulativeLogprob, finishReason, stopReason, request }) => {
        return { text, logprobs, cumulativeLogprob, finishReason, stopReason, tokens: request.outputTokens() };
      }),
      promptLogprobs,
      error,
      failure,
    }));
  return { wire, results };
}

/** The same requests in one engine, without frames. */
async function undisturbed() {
  const engine = new AsyncLLM({ ...engineOptions(), tokenizer: letters });
  const outputs = requests.map(async (params, i) => {
    for await (const output of engine.generate(prompt(6 + i), params, { outputKind: 'final' })) return output.outputs;
    return [];
  });
  const all = await Promise.all(outputs);
  await engine.dispose();
  return all;
}

describe('requests behind frames', () => {
  it('give what they give in one engine, and whatever frame the engine ends at', async () => {
    const { wire, results } = begin();
    await wire.run(Number.POSITIVE_INFINITY);
    const expected = results();
    const plain = (await undisturbed()).map(outputs =>
      outputs.map(({ text, logprobs, cumulativeLogprob, finishReason, stopReason, tokenIds: tokens }) => {
        return { text, logprobs, cumulativeLogprob, finishReason, stopReason, tokens };
      }),
    );
    expect((expected as { sequences: unknown }[]).map(({ sequences }) => sequences)).toEqual(plain);
    expect(wire.frames).toBeGreaterThan(8);
    for (let at = 0; at <= wire.frames; at++) {
      for (const then of [0, 1, 3]) {
        const cut = begin();
        await cut.wire.run(at);
        if (cut.wire.front.hasUnfinished) await cut.wire.run(then);
        if (cut.wire.front.hasUnfinished) await cut.wire.run(Number.POSITIVE_INFINITY);
        expect(cut.results()).toEqual(expected);
        expect(cut.wire.front.numUnfinished).toBe(0);
      }
    }
  });

  it('a frame with any bit turned is a typed error or a frame: the front end goes on with another engine', async () => {
    let typed = 0;
    for (let run = 0; run < 200; run++) {
      const { wire } = begin();
      let state = (run * 2_654_435_761) >>> 0;
      const draw = (below: number) => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        return Math.floor((state / 2 ** 32) * below);
      };
      let at = draw(8);
      wire.spoil = frame => {
        if (at-- !== 0) return frame;
        const spoilt = Buffer.from(frame);
        const bits = 1 + draw(4);
        for (let i = 0; i < bits; i++) spoilt[draw(spoilt.length)]! ^= 1 << draw(8);
        return spoilt;
      };
      await wire.runToSilence(20);
      if (wire.error !== null) {
        expect(wire.error).toBeInstanceOf(FrameError);
        typed++;
      }
      wire.spoil = frame => frame;
      if (wire.front.hasUnfinished) await wire.run(Number.POSITIVE_INFINITY);
      expect(wire.front.numUnfinished).toBe(0);
    }
    expect(typed).toBeGreaterThan(60);
  });
});

describe('the feed of an engine', () => {
  /** `sent`: the kinds of its frames. `onStats`: called with the state that a frame tells. */
  function open(onStats: (stats: { kvCacheUsage: number }) => void = () => {}) {
    const sent: ('step' | 'stats')[] = [];
    const front = new FrontRequests({
      limits: symbolicLimits,
      config: parseEngineConfig({}),
      tokenizer: letters,
      eosTokenIds: [EOS],
      generationConfig: null,
    });
    const inside = new Map<number, FrontRequest>();
    const receiver = new StepReceiver(front, inside, { abort: () => {}, progressed: () => {}, stats: onStats });
    const take = (kind: 'step' | 'stats') => (words: Uint32Array) => {
      sent.push(kind);
      receiver.receive({ kind: kind === 'step' ? FrameKind.step : FrameKind.heartbeat, head: null, words });
    };
    const nothing = () => {};
    const ignored = { trace: nothing, failure: nothing, closed: nothing };
    const outlet = { isFull: false, step: take('step'), stats: take('stats'), ...ignored };
    const feed = new EngineFeed(outlet);
    const engine = new AsyncLLM({ ...engineOptions({ config: { numSchedulerSteps: 1 } }), observer: feed });
    feed.engine = engine;
    const add = (params: SamplingParams) => {
      const request = front.add(prompt(6), params, {}, 0);
      inside.set(request.number, request);
      feed.add({ request: request.number, ...front.askOf(request) });
      return request;
    };
    return { sent, outlet, feed, engine, add };
  }

  it('tells what an abort has freed, though no step follows', async () => {
    const usage: number[] = [];
    const { sent, feed, engine, add } = open(({ kvCacheUsage }) => {
      usage.push(kvCacheUsage);
      if (usage.length === 2) feed.abort(request.number, null);
    });
    const request = add({ maxTokens: 20, ignoreEos: true });
    while (usage.length < 3) await new Promise(resolve => setTimeout(resolve, 1));
    expect(sent).toEqual(['step', 'step', 'stats']);
    expect(usage).toEqual([expect.any(Number), expect.any(Number), 0]);
    expect(usage[1]).toBeGreaterThan(0);
    await engine.dispose();
  });

  it('tells much at once in several frames, of which each has whole requests', async () => {
    const { sent, outlet, feed, engine, add } = open();
    outlet.isFull = true;
    const requests = Array.from({ length: 8 }, () => add({ maxTokens: 50, ignoreEos: true, logprobs: 5 }));
    while (engine.stats().finished.length < 8) await new Promise(resolve => setTimeout(resolve, 1));
    expect(sent).toEqual([]);
    outlet.isFull = false;
    feed.flush();
    expect(sent.length).toBeGreaterThan(2);
    expect(sent.length).toBeLessThan(8);
    expect(requests.map(({ sequences }) => sequences[0]!.request.numOutputTokens)).toEqual(Array(8).fill(50));
    await engine.dispose();
  });
});

describe('who ended the engine', () => {
  it('is found among others by trying those one at a time that were there twice', () => {
    const [a, killer, b, latest] = ['a', 'killer', 'b', 'new'].map(name => ({ name })) as [
      object,
      object,
      object,
      object,
    ];
    const blame = new Blame<object>();
    const all = [a, killer, b];
    expect(blame.ended(all)).toBeNull();
    expect(blame.admit(all, [])).toEqual(all);
    expect(blame.ended(all)).toBeNull();
    expect(blame.admit(all, [])).toEqual([a]);
    expect(blame.admit([killer, b, latest], [a])).toEqual([]);
    expect(blame.acquit(a)).toBe(true);
    expect(blame.admit([killer, b, latest], [a])).toEqual([killer]);
    // The engine may have ended because of a, before the killer had arrived.
    expect(blame.ended([a, killer])).toBeNull();
    expect(blame.admit([a, killer, b, latest], [])).toEqual([killer]);
    expect(blame.ended([killer])).toBe(killer);
    expect(blame.admit([a, b, latest], [])).toEqual([b]);
    expect(blame.acquit(b)).toBe(true);
    expect(blame.admit([a, latest], [b])).toEqual([a, latest]);
    expect([1, 5, 5, 3, 6].map(numComputed => blame.advances(a, numComputed))).toEqual([
      true,
      true,
      false,
      false,
      true,
    ]);
  });

  it('is not at once one that only waited for its grammar, though in the end it may be', () => {
    const blame = new Blame<object>();
    const [waiting, other] = [{ name: 'waiting' }, { name: 'other' }];
    const waited = (request: object) => request === waiting;
    for (let kills = 0; kills < 2; kills++) {
      expect(blame.ended([waiting, other], waited)).toBeNull();
      blame.acquit(other);
    }
    expect(blame.admit([waiting, other], [])).toEqual([waiting]);
    for (let kills = 0; kills < 3; kills++) expect(blame.ended([waiting], waited)).toBeNull();
    expect(blame.ended([waiting], waited)).toBe(waiting);
    expect(blame.admit([other], [])).toEqual([other]);
    // One that the engine had begun is not spared.
    for (let kills = 0; kills < 2; kills++) expect(blame.ended([waiting], waited)).toBeNull();
    expect(blame.ended([waiting], () => false)).toBe(waiting);
  });

  it('engines that lead nowhere are started later and later, then not at all', () => {
    const policy = new RestartPolicy();
    const pauses = Array.from({ length: 17 }, () => policy.ended(true));
    expect(pauses.slice(0, 4)).toEqual([0, 100, 200, 400]);
    expect(Math.max(...pauses.slice(0, 16).map(Number))).toBe(5000);
    expect(pauses[16]).toBeNull();
    policy.progressed();
    expect(policy.ended(true)).toBe(0);
    const other = new RestartPolicy();
    expect(Array.from({ length: 6 }, () => other.ended(false)).map(pause => pause === null)).toEqual([
      false,
      false,
      false,
      false,
      false,
      true,
    ]);
  });
});
