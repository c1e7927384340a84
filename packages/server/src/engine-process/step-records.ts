import type { BatchSize, EngineStats, FinishReason, PositionLogprobs, SequenceEnd, TokenLogprob } from '@quire/core';
import { FrameError } from './frames.ts';
import { toNumbers, type WordReader, WordWriter } from './words.ts';

/** What one step brought, as records behind each other in the words of one frame. */

const Record = {
  stats: 1,
  scheduled: 2,
  prompt: 3,
  tokens: 4,
  beam: 5,
  end: 6,
  step: 7,
  reached: 8,
  pooled: 9,
} as const;
const reasons: readonly FinishReason[] = ['stop', 'length', 'abort', 'error'];

/** The state of an engine that only the engine knows. */
export type RemoteStats = Pick<
  EngineStats,
  | 'numRequestsRunning'
  | 'numPlaces'
  | 'kvCacheUsage'
  | 'numPreemptions'
  | 'prefixCacheQueries'
  | 'prefixCacheHits'
  | 'draftTokens'
  | 'acceptedTokens'
  | 'numDrafts'
  | 'acceptedPerPosition'
  | 'numRecoveries'
  | 'numSteps'
  | 'hostTierBytes'
>;

export interface BeamOutput {
  readonly tokens: readonly number[];
  readonly total: number;
  readonly logprobs: PositionLogprobs[] | null;
  readonly end: SequenceEnd;
}

/** Gets the records of a frame in their order. `request` is the front end's name; views are valid until the call returns. */
export interface StepVisitor {
  stats(stats: RemoteStats): void;
  /** A request began; `waited` is in milliseconds. */
  scheduled(request: number, waited: number, numCachedTokens: number): void;
  /** So many tokens of a request are computed that has given none out: of its prompt, or of beams. */
  reached(request: number, numComputed: number): void;
  prompt(request: number, position: number, logprobs: PositionLogprobs): void;
  /** Tokens of a completion, from the `start`-th of its output on. */
  tokens(
    request: number,
    sequence: number,
    start: number,
    tokens: Uint32Array,
    logprobs: readonly PositionLogprobs[] | null,
  ): void;
  beam(request: number, sequence: number, output: BeamOutput): void;
  end(request: number, sequence: number, end: SequenceEnd): void;
  /** What was pooled of a request, which ends it. */
  pooled(request: number, values: Float32Array): void;
  step(batch: BatchSize, numGenerationTokens: number, milliseconds: number): void;
}

export class StepWriter implements StepVisitor {
  readonly #words = new WordWriter();

  /** Words that were written and not taken. */
  get length(): number {
    return this.#words.length;
  }

  /** Valid until the next record. */
  take(): Uint32Array {
    return this.#words.take();
  }

  stats(stats: RemoteStats): void {
    this.#words.u32(Record.stats).f64(stats.numRequestsRunning).f64(stats.numPlaces);
    this.#words.f64(stats.kvCacheUsage).f64(stats.numPreemptions);
    this.#words.f64(stats.prefixCacheQueries).f64(stats.prefixCacheHits).f64(stats.draftTokens);
    this.#words.f64(stats.acceptedTokens).f64(stats.numRecoveries).f64(stats.numSteps);
    this.#words.f64(stats.hostTierBytes.toHost).f64(stats.hostTierBytes.toDevice);
    this.#words.f64(stats.numDrafts).u32(stats.acceptedPerPosition.length);
    for (const count of stats.acceptedPerPosition) this.#words.f64(count);
  }

  scheduled(request: number, waited: number, numCachedTokens: number): void {
    this.#words.u32(Record.scheduled).u32(request).f64(waited).u32(numCachedTokens);
  }

  reached(request: number, numComputed: number): void {
    this.#words.u32(Record.reached).u32(request).u32(numComputed);
  }

  prompt(request: number, position: number, logprobs: PositionLogprobs): void {
    this.#words.u32(Record.prompt).u32(request).u32(position);
    this.#position(logprobs);
  }

  tokens(
    request: number,
    sequence: number,
    start: number,
    tokens: ArrayLike<number>,
    logprobs: readonly PositionLogprobs[] | null,
  ): void {
    this.#words.u32(Record.tokens).u32(request).u32(sequence).u32(start);
    this.#words.u32(tokens.length).list(tokens);
    this.#positions(logprobs);
  }

  beam(request: number, sequence: number, { tokens, total, logprobs, end }: BeamOutput): void {
    this.#words.u32(Record.beam).u32(request).u32(sequence).u32(tokens.length).list(tokens).f64(total);
    this.#positions(logprobs);
    this.#end(end);
  }

  end(request: number, sequence: number, end: SequenceEnd): void {
    this.#words.u32(Record.end).u32(request).u32(sequence);
    this.#end(end);
  }

  pooled(request: number, values: Float32Array): void {
    const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
    this.#words.u32(Record.pooled).u32(request).u32(bits.length).list(bits);
  }

  step({ numSequences, numTokens, numPromptTokens, times }: BatchSize, tokens: number, milliseconds: number): void {
    this.#words.u32(Record.step).u32(numSequences).u32(numTokens).u32(numPromptTokens).u32(times);
    this.#words.u32(tokens).f64(milliseconds);
  }

  /** Their number plus one; 0: none are kept. */
  #positions(positions: readonly PositionLogprobs[] | null): void {
    this.#words.u32(positions === null ? 0 : positions.length + 1);
    for (const position of positions ?? []) this.#position(position);
  }

  #position({ top, ...chosen }: PositionLogprobs): void {
    this.#logprob(chosen);
    this.#words.u32(top.length);
    for (const entry of top) this.#logprob(entry);
  }

  #logprob({ tokenId, logprob, rank }: TokenLogprob): void {
    this.#words.u32(tokenId).u32(rank).f64(logprob);
  }

  /** A stop string is found by the front end, so a reason is a token or none. */
  #end({ reason, stopReason }: SequenceEnd): void {
    this.#words.u32(reasons.indexOf(reason));
    this.#words.u32(typeof stopReason === 'number' ? 1 : 0).u32(typeof stopReason === 'number' ? stopReason : 0);
  }
}

/** Throws FrameError for what no StepWriter wrote; the visitor has got the records before it. */
export function readRecords(reader: WordReader, visitor: StepVisitor): void {
  while (!reader.isAtEnd) readRecord(reader, visitor);
}

function readRecord(reader: WordReader, visitor: StepVisitor): void {
  const record = reader.u32();
  switch (record) {
    case Record.stats:
      visitor.stats(readStats(reader));
      break;
    case Record.scheduled:
      visitor.scheduled(reader.u32(), reader.f64(), reader.u32());
      break;
    case Record.reached:
      visitor.reached(reader.u32(), reader.u32());
      break;
    case Record.prompt:
      visitor.prompt(reader.u32(), reader.u32(), readPosition(reader));
      break;
    case Record.tokens:
      readTokens(reader, visitor);
      break;
    case Record.beam:
      visitor.beam(reader.u32(), reader.u32(), readBeam(reader));
      break;
    case Record.end:
      visitor.end(reader.u32(), reader.u32(), readEnd(reader));
      break;
    case Record.pooled:
      visitor.pooled(reader.u32(), readFloats(reader));
      break;
    case Record.step:
      readStep(reader, visitor);
      break;
    default:
      throw new FrameError(`A step has a record of kind ${record}, which there is not.`);
  }
}

/** A copy: frames are used again. */
function readFloats(reader: WordReader): Float32Array {
  return new Float32Array(reader.list(reader.u32()).slice().buffer);
}

function readTokens(reader: WordReader, visitor: StepVisitor): void {
  const [request, sequence, start] = [reader.u32(), reader.u32(), reader.u32()];
  const tokens = reader.list(reader.u32());
  const logprobs = readPositions(reader);
  if (logprobs !== null && logprobs.length !== tokens.length) {
    throw new FrameError(`A completion gains ${tokens.length} tokens, and log-probabilities of ${logprobs.length}.`);
  }
  visitor.tokens(request, sequence, start, tokens, logprobs);
}

function readStats(reader: WordReader): RemoteStats {
  return {
    numRequestsRunning: reader.f64(),
    numPlaces: reader.f64(),
    kvCacheUsage: reader.f64(),
    numPreemptions: reader.f64(),
    prefixCacheQueries: reader.f64(),
    prefixCacheHits: reader.f64(),
    draftTokens: reader.f64(),
    acceptedTokens: reader.f64(),
    numRecoveries: reader.f64(),
    numSteps: reader.f64(),
    hostTierBytes: { toHost: reader.f64(), toDevice: reader.f64() },
    numDrafts: reader.f64(),
    acceptedPerPosition: readCounts(reader),
  };
}

function readCounts(reader: WordReader): number[] {
  const counts: number[] = [];
  for (let left = reader.u32(); left > 0; left--) counts.push(reader.f64());
  return counts;
}

function readStep(reader: WordReader, visitor: StepVisitor): void {
  const batch = {
    numSequences: reader.u32(),
    numTokens: reader.u32(),
    numPromptTokens: reader.u32(),
    times: reader.u32(),
  };
  visitor.step(batch, reader.u32(), reader.f64());
}

function readBeam(reader: WordReader): BeamOutput {
  const tokens = toNumbers(reader.list(reader.u32()));
  return { tokens, total: reader.f64(), logprobs: readPositions(reader), end: readEnd(reader) };
}

function readPositions(reader: WordReader): PositionLogprobs[] | null {
  const count = reader.u32();
  if (count === 0) return null;
  const positions: PositionLogprobs[] = [];
  while (positions.length < count - 1) positions.push(readPosition(reader));
  return positions;
}

function readPosition(reader: WordReader): PositionLogprobs {
  const chosen = readLogprob(reader);
  const count = reader.u32();
  const top: TokenLogprob[] = [];
  for (let i = 0; i < count; i++) top.push(readLogprob(reader));
  return { ...chosen, top };
}

function readLogprob(reader: WordReader): TokenLogprob {
  const [tokenId, rank] = [reader.u32(), reader.u32()];
  return { tokenId, logprob: reader.f64(), rank };
}

function readEnd(reader: WordReader): SequenceEnd {
  const reason = reasons[reader.u32()];
  if (reason === undefined) throw new FrameError('A completion ended for a reason that there is not.');
  const [isToken, token] = [reader.u32(), reader.u32()];
  return { reason, stopReason: isToken === 1 ? token : null };
}
