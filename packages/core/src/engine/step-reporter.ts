import type { EngineObserver } from './engine-stats.ts';
import type { RequestGroup, SequenceOutput } from './output-processor.ts';
import type { RunningRows } from './running-rows.ts';
import type { StepBatch } from './step-batch.ts';

/** What a report tells of a batch. */
export type BatchSize = Pick<StepBatch, 'numSequences' | 'numTokens' | 'numPromptTokens' | 'times'>;

/** Gathers what an observer wants to know of steps and requests. */
export class StepReporter {
  readonly #observer: EngineObserver;
  #timeToFirstToken: number[] = [];
  #interTokenLatency: number[] = [];

  constructor(observer: EngineObserver) {
    this.#observer = observer;
  }

  /** A sequence gained tokens in the step that is being read. */
  gained(sequence: SequenceOutput, tokens: number, now: number): void {
    const { request, group } = sequence;
    if (Number.isNaN(request.lastToken)) this.#firstOf(group, now);
    else this.#latency(now - request.lastToken, tokens);
    request.lastToken = now;
  }

  /** The same for the sequence of a row, which had tokens before. */
  gainedMore({ lastToken }: RunningRows, row: number, tokens: number, now: number): void {
    this.#latency(now - lastToken[row]!, tokens);
    lastToken[row] = now;
  }

  #latency(milliseconds: number, tokens: number): void {
    if (this.#observer.onStep !== undefined) this.#interTokenLatency.push(milliseconds / tokens);
  }

  #firstOf({ metrics }: RequestGroup, now: number): void {
    if (metrics.firstToken !== null) return;
    metrics.firstToken = now;
    if (this.#observer.onStep !== undefined) this.#timeToFirstToken.push(now - metrics.arrival);
  }

  report(batch: BatchSize, numGenerationTokens: number, milliseconds: number): void {
    if (this.#observer.onStep === undefined) return;
    const { numSequences, numTokens, numPromptTokens, times } = batch;
    this.#observer.onStep({
      numSequences,
      numTokens,
      numPromptTokens,
      numGenerationTokens,
      times,
      milliseconds,
      timeToFirstToken: this.#timeToFirstToken,
      interTokenLatency: this.#interTokenLatency,
    });
    this.#timeToFirstToken = [];
    this.#interTokenLatency = [];
  }

  finished(group: RequestGroup): void {
    this.#observer.onRequestFinished?.({
      requestId: group.id,
      numPromptTokens: group.prompt.tokenIds.length,
      numCachedTokens: group.numCachedTokens,
      numGenerationTokens: group.numGenerationTokens,
      maxNumGenerationTokens: Math.max(...group.sequences.map(({ request }) => request.numOutputTokens)),
      n: group.params.n,
      maxTokens: group.params.maxTokens,
      temperature: group.params.temperature,
      topP: group.params.topP,
      finishReason: group.sequences[0]!.finishReason!,
      metrics: { ...group.metrics },
    });
  }
}
