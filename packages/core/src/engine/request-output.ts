import type { RequestGroup, SequenceOutput } from './output-processor.ts';
import type { CompletionOutput, PositionLogprobs, RequestOutput } from './outputs.ts';

/**
 * What each output of a stream holds: everything so far, what is new since the one before, or only one output at the end.
 * A consumer that is slower than the engine gets fewer, longer outputs.
 */
export type OutputKind = 'cumulative' | 'delta' | 'final';

/** How much of a request its consumer has seen. */
export class OutputCursor {
  readonly #group: RequestGroup;
  readonly #kind: OutputKind;
  readonly #seen: { text: number; tokens: number; isFinished: boolean }[];
  #version = 0;
  #promptLogprobsSent = false;

  constructor(group: RequestGroup, kind: OutputKind) {
    this.#group = group;
    this.#kind = kind;
    this.#seen = group.sequences.map(() => ({ text: 0, tokens: 0, isFinished: false }));
  }

  /** Whether `take` has something to tell. */
  get hasNews(): boolean {
    if (this.#group.version === this.#version) return false;
    if (this.#group.isFinished) return true;
    return this.#kind !== 'final' && !this.#group.choosesAtEnd && this.#group.numGenerationTokens > 0;
  }

  take(): RequestOutput {
    const group = this.#group;
    this.#version = group.version;
    return {
      requestId: group.id,
      prompt: group.prompt.text,
      promptTokenIds: group.prompt.tokenIds,
      promptLogprobs: this.#promptLogprobs(),
      outputs: this.#kind === 'delta' ? this.#deltas() : group.sequences.map(sequence => completion(sequence, 0, 0)),
      finished: group.isFinished,
      numCachedTokens: group.numCachedTokens,
      metrics: { ...group.metrics },
      pooled: group.pooled,
      error: group.error,
    };
  }

  /** Deltas carry them once, when they are complete. Complete ones are shared, not copied. */
  #promptLogprobs(): RequestOutput['promptLogprobs'] {
    const { promptLogprobs, prompt } = this.#group;
    if (promptLogprobs === null) return null;
    const isComplete = promptLogprobs.length === prompt.tokenIds.length;
    if (this.#kind !== 'delta') return isComplete ? promptLogprobs : [...promptLogprobs];
    if (this.#promptLogprobsSent || !isComplete) return null;
    this.#promptLogprobsSent = true;
    return promptLogprobs;
  }

  #deltas(): CompletionOutput[] {
    const outputs: CompletionOutput[] = [];
    for (const sequence of this.#group.sequences) {
      const seen = this.#seen[sequence.index]!;
      const isFinished = sequence.finishReason !== null;
      const { text, request } = sequence;
      if (text.length === seen.text && request.numOutputTokens === seen.tokens && isFinished === seen.isFinished)
        continue;
      outputs.push(completion(sequence, seen.text, seen.tokens));
      seen.text = text.length;
      seen.tokens = request.numOutputTokens;
      seen.isFinished = isFinished;
    }
    return outputs;
  }
}

function completion(sequence: SequenceOutput, textFrom: number, tokensFrom: number): CompletionOutput {
  return {
    index: sequence.index,
    text: sequence.text.slice(textFrom),
    tokenIds: sequence.request.outputTokens(tokensFrom),
    cumulativeLogprob: sequence.cumulativeLogprob,
    logprobs: logprobsFrom(sequence, tokensFrom),
    finishReason: sequence.finishReason,
    stopReason: sequence.stopReason,
  };
}

/** A resumed completion may lack those of its first tokens. */
function logprobsFrom({ logprobs, request }: SequenceOutput, tokensFrom: number): PositionLogprobs[] | null {
  if (logprobs === null) return null;
  return logprobs.slice(Math.max(0, tokensFrom - (request.numOutputTokens - logprobs.length)));
}
