import { type EngineOptions, parseEngineConfig } from '@quire/core';
import { createApp } from '../../app/create-app.ts';
import { BatchProgress } from '../../batch/progress.ts';
import { type RunBatchOptions, runBatch } from '../../batch/run-batch.ts';
import { shardOf } from '../../batch/shard.ts';
import { LLM } from '../../node/llm.ts';
import { bringModel } from '../bring-model.ts';
import type { Command, CommandIo } from '../command.ts';
import { deviceFlag, engineFlags, engineOptions } from '../engine-flags.ts';
import { helpFlag, parseFlags, UsageError } from '../flags.ts';
import { followIfRank } from '../follow-if-rank.ts';

const batchFlags = {
  'input-file': {
    type: 'string',
    value: 'FILE',
    short: 'i',
    help: 'Requests, one JSON object per line: {"custom_id", "method": "POST", "url": "/v1/chat/completions", "body"}.',
  },
  'output-file': {
    type: 'string',
    value: 'FILE',
    short: 'o',
    help: 'Answers, one per line as they come. Requests that it answers already are left out.',
  },
  model: { type: 'string', value: 'MODEL', help: 'The folder of the model, if it is not given without a flag.' },
  'num-shards': {
    type: 'integer',
    value: 'N',
    help: 'Parts of the batch, of which this process does one, into a file of its own. Default: the tasks of a Slurm array, else no parts.',
  },
  'shard-index': {
    type: 'integer',
    value: 'N',
    help: 'Which part, from 0. Default: the task of a Slurm array or of a Kubernetes indexed job.',
  },
} as const;
const flags = { ...batchFlags, ...deviceFlag, ...engineFlags, ...helpFlag } as const;

/** Requests in progress for each that the engine computes: the next ones are tokenised and wait when a place is free. */
const IN_PROGRESS_PER_SEQUENCE = 2;

export const runBatchCommand: Command = {
  usage: ['run-batch MODEL -i FILE -o FILE [flags]'],
  about:
    "Answers a file of requests in the format of OpenAI's Batch API with MODEL, a folder or a name on Hugging Face. Run again after it was stopped, it goes on.",
  groups: [
    { title: 'Batch', flags: batchFlags },
    { title: 'Engine', flags: { ...deviceFlag, ...engineFlags } },
  ],
  async run(argv, io) {
    const task = readTask(argv, io);
    const config = parseEngineConfig(task.engine);
    const followed = await followIfRank(task.device.device ?? 'auto', config, io, line => io.err(`${line}\n`));
    if (followed !== null) return followed;
    await bringModel(config, task.engine.model, line => io.err(`${line}\n`));
    const llm = new LLM({ ...task.engine, ...task.device });
    try {
      const { asyncLLM, tokenizer } = await llm.load();
      if (tokenizer === null) throw new UsageError('run-batch needs a model with a tokenizer.');
      // The queue is bounded by what is sent at a time.
      const names = { modelNames: llm.config.servedModelName, maxNumQueuedReqs: Number.MAX_SAFE_INTEGER };
      const app = createApp({ engine: asyncLLM, tokenizer }, names);
      const progress = new BatchProgress(io.err);
      const counts = await runBatch({
        ...task.files,
        concurrency: IN_PROGRESS_PER_SEQUENCE * asyncLLM.limits.maxNumSeqs,
        fetch: request => app.fetch(request),
        onProgress: state => progress.update(state),
      });
      progress.finish(counts);
      return 0;
    } finally {
      await llm.dispose();
    }
  },
};

interface Task {
  files: Pick<RunBatchOptions, 'input' | 'output' | 'shard'>;
  engine: EngineOptions & { model: string };
  device: { device?: string };
}

/** Throws UsageError, and ConfigError for a shard that cannot be. */
function readTask(argv: readonly string[], io: CommandIo): Task {
  const { flags: given, positionals } = parseFlags(argv, flags, io.env);
  const models = given.model === undefined ? positionals : [...positionals, given.model];
  const [model] = models;
  if (model === undefined || models.length > 1)
    throw new UsageError(`run-batch takes one MODEL folder, got ${models.length}.`);
  const { 'input-file': input, 'output-file': output } = given;
  if (input === undefined) throw new UsageError('run-batch needs -i FILE, the requests.');
  if (output === undefined) throw new UsageError('run-batch needs -o FILE, where answers go.');
  const shard = shardOf({ index: given['shard-index'] ?? null, count: given['num-shards'] ?? null }, io.env);
  const device = given.device === undefined ? {} : { device: given.device };
  return { files: { input, output, shard }, engine: { model, ...engineOptions(given) }, device };
}
