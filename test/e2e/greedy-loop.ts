import { NONE, SAMPLE_FINITE, SAMPLE_LIVE } from '@quire/core/contract';
import type { ModelExecutor, RowSampling, SchedulerOutput, StepResult } from '../../packages/core/src/worker/types.ts';

export interface GreedyRequest {
  readonly promptTokenIds: readonly number[];
  readonly maxTokens: number;
}

export interface GreedyOutput {
  readonly tokenIds: number[];
  readonly tokenLogprobs: number[];
  /** null for the first token. */
  readonly promptLogprobs: (number | null)[];
}

export const greedySampling: RowSampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  seed: 0n,
  presencePenalty: 0,
  frequencyPenalty: 0,
  repetitionPenalty: 1,
  minTokens: 0,
  stopTokenIds: [],
  logitBias: [],
  masked: false,
};

/** Room for all golden cases of a bundled checkpoint. */
export const greedyConfig = {
  dtype: 'auto',
  seed: 0n,
  maxModelLen: null,
  blockSize: 16,
  maxNumSeqs: 16,
  maxNumBatchedTokens: 128,
  kvCacheDtype: 'auto',
  kvCacheMemoryBytes: null,
  numGpuBlocksOverride: 200,
  maxLogprobs: 20,
  runAhead: 2,
  numSchedulerSteps: 4,
} as const;

interface Running extends GreedyRequest {
  readonly row: number;
  readonly firstBlock: number;
  readonly output: GreedyOutput;
}

/**
 * Greedy decoding straight on a ModelExecutor, with all log-probabilities: every step decodes the running requests and
 * prefills one more. Rows and blocks are never shared or reused, so it needs no scheduler.
 */
export async function runGreedy(
  executor: ModelExecutor,
  requests: readonly GreedyRequest[],
  stopIds: readonly number[],
): Promise<{ outputs: GreedyOutput[]; steps: number }> {
  const { blockSize } = executor.limits;
  let nextBlock = 1;
  const all = requests.map((request, row): Running => {
    const firstBlock = nextBlock;
    nextBlock += Math.ceil((request.promptTokenIds.length + request.maxTokens) / blockSize);
    return { ...request, row, firstBlock, output: { tokenIds: [], tokenLogprobs: [], promptLogprobs: [null] } };
  });
  const waiting = [...all];
  let running: Running[] = [];
  let steps = 0;
  while (waiting.length > 0 || running.length > 0) {
    const started = waiting.shift();
    const batch = started === undefined ? running : [...running, started];
    const result = await executor.submit(greedyStep(batch, started, blockSize));
    steps++;
    batch.forEach((request, index) => {
      collect(request, index, result, request === started);
    });
    running = batch.filter(({ output, maxTokens }) => {
      return output.tokenIds.length < maxTokens && !stopIds.includes(output.tokenIds.at(-1)!);
    });
  }
  return { outputs: all.map(({ output }) => output), steps };
}

function greedyStep(batch: readonly Running[], started: Running | undefined, blockSize: number): SchedulerOutput {
  const queryLens = Int32Array.from(batch, request => (request === started ? request.promptTokenIds.length : 1));
  const newRows = started === undefined ? [] : [newRow(started)];
  const grants = newRows.map(({ row, tokenLimit }) => {
    const blocks = Array.from({ length: Math.ceil(tokenLimit / blockSize) }, (_, i) => started!.firstBlock + i);
    return { row, start: 0, blocks };
  });
  return {
    newRows,
    edits: [],
    grants,
    numSequences: batch.length,
    numDecodeSequences: batch.length - newRows.length,
    rows: Int32Array.from(batch, ({ row }) => row),
    queryLens,
    sampleCounts: queryLens,
    promptLogprobs: Int32Array.from(batch, request => (request === started ? 0 : -1)),
    times: 1,
    copies: [],
    zeroBlocks: [],
    masks: [],
    hostLogits: [],
  };
}

function newRow({ row, promptTokenIds, maxTokens }: Running) {
  return {
    row,
    tokenIds: Uint32Array.from(promptTokenIds),
    promptTokens: promptTokenIds.length,
    numComputed: 0,
    tokenLimit: promptTokenIds.length + maxTokens,
    sampling: greedySampling,
    logprobs: 0,
  };
}

function collect(request: Running, index: number, result: StepResult, isPrompt: boolean): void {
  const id = result.tokenIds[index]!;
  if (id === NONE || result.flags[index] !== (SAMPLE_LIVE | SAMPLE_FINITE)) {
    throw new Error(`Row ${request.row} gave token ${id} with flags ${result.flags[index]}.`);
  }
  const { topN, logprobs } = result.logprobs!;
  let sample = result.sampleStarts[index]!;
  for (let i = 1; isPrompt && i < request.promptTokenIds.length; i++) {
    request.output.promptLogprobs.push(logprobs[sample++ * (1 + topN)]!);
  }
  request.output.tokenIds.push(id);
  request.output.tokenLogprobs.push(logprobs[sample * (1 + topN)]!);
}
