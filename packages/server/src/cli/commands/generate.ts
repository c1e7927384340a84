import { readFile } from 'node:fs/promises';
import { type PromptInput, parseEngineConfig, type RequestOutput, type SamplingParams, toCamelCase } from '@quire/core';
import { LLM } from '../../node/llm.ts';
import { bringModel } from '../bring-model.ts';
import type { Command } from '../command.ts';
import { deviceFlag, engineFlags, engineOptions } from '../engine-flags.ts';
import { helpFlag, parseFlags, UsageError } from '../flags.ts';
import { followIfRank } from '../follow-if-rank.ts';
import { samplingFlags, samplingParams } from '../sampling-flags.ts';

const promptFlags = {
  prompt: { type: 'list', value: 'TEXT', help: 'A prompt. May be given several times.' },
  'prompts-file': {
    type: 'string',
    value: 'FILE',
    help: 'One JSON object per line: {"prompt": TEXT} or {"promptTokenIds": [IDS]}, with any sampling parameter beside it.',
  },
  json: { type: 'boolean', help: 'Print one JSON object per prompt, in order.' },
} as const;
const flags = { ...promptFlags, ...samplingFlags, ...deviceFlag, ...engineFlags, ...helpFlag } as const;

interface Job {
  prompt: PromptInput;
  params: SamplingParams;
}

export const generate: Command = {
  usage: ['generate MODEL --prompt TEXT [flags]', 'generate MODEL --prompts-file FILE [flags]'],
  about: 'Completes prompts with a model, all in one batch. MODEL is a folder, or a name on Hugging Face.',
  groups: [
    { title: 'Prompts', flags: promptFlags },
    { title: 'Sampling', flags: samplingFlags },
    { title: 'Engine', flags: { ...deviceFlag, ...engineFlags } },
  ],
  async run(argv, io) {
    const { flags: given, positionals } = parseFlags(argv, flags, io.env);
    const [model] = positionals;
    if (model === undefined || positionals.length > 1) {
      throw new UsageError(
        `generate takes one MODEL, a folder or a name, got ${positionals.length}. A prompt needs --prompt.`,
      );
    }
    const options = { model, ...engineOptions(given) };
    const config = parseEngineConfig(options);
    const followed = await followIfRank(given.device ?? 'auto', config, io, line => io.err(`${line}\n`));
    if (followed !== null) return followed;
    const common = samplingParams(given);
    const file = given['prompts-file'];
    const jobs: Job[] = (given.prompt ?? []).map(prompt => ({ prompt, params: common }));
    if (file !== undefined) jobs.push(...(await readJobs(file, common)));
    if (jobs.length === 0) throw new UsageError('generate needs a prompt: --prompt TEXT or --prompts-file FILE.');
    const device = given.device === undefined ? {} : { device: given.device };
    await bringModel(config, model, line => io.err(`${line}\n`));
    const llm = new LLM({ ...options, ...device });
    try {
      for (const notice of (await llm.load()).notices) io.err(`${notice}\n`);
      const prompts = jobs.map(job => job.prompt);
      const outputs = await llm.generate(
        prompts,
        jobs.map(job => job.params),
      );
      const print = given.json ? jsonLine : plainText;
      for (const output of outputs) io.out(print(output));
      return outputs.some(output => output.error !== null) ? 1 : 0;
    } finally {
      await llm.dispose();
    }
  },
};

async function readJobs(file: string, common: SamplingParams): Promise<Job[]> {
  const text = await readFile(file, 'utf8').catch((error: Error) => {
    throw new UsageError(`--prompts-file cannot be read: ${error.message}`);
  });
  const lines = text.split('\n').map((line, i) => ({ line, where: `${file} line ${i + 1}` }));
  return lines.filter(({ line }) => line.trim() !== '').map(({ line, where }) => readJob(line, where, common));
}

/** Names of sampling parameters are the engine's to check; both spellings are taken, and override the flags. */
function readJob(line: string, where: string, common: SamplingParams): Job {
  const { prompt, promptTokenIds, ...params } = parseObject(line, where);
  if ((typeof prompt === 'string') === Array.isArray(promptTokenIds)) {
    throw new UsageError(`${where}: give either "prompt" (text) or "promptTokenIds" (a list).`);
  }
  const own = Object.fromEntries(Object.entries(params).map(([name, value]) => [toCamelCase(name), value]));
  const input = typeof prompt === 'string' ? prompt : { promptTokenIds: promptTokenIds as number[] };
  return { prompt: input, params: { ...common, ...own } };
}

function parseObject(line: string, where: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (error) {
    throw new UsageError(`${where} is not JSON: ${(error as Error).message}`);
  }
  throw new UsageError(`${where} is not a JSON object.`);
}

/** The stable shape for programs. Log-probabilities are null unless they were asked for. */
function jsonLine(output: RequestOutput): string {
  const outputs = output.outputs.map(({ text, tokenIds, logprobs, cumulativeLogprob, finishReason }) => ({
    text,
    tokenIds,
    logprobs: logprobs?.map(position) ?? null,
    cumulativeLogprob,
    finishReason,
  }));
  const { prompt, promptTokenIds, promptLogprobs, error } = output;
  const extra = {
    ...(promptLogprobs === null ? {} : { promptLogprobs: promptLogprobs.map(p => p && position(p)) }),
    ...(error === null ? {} : { error: error.message }),
  };
  return `${JSON.stringify({ prompt, promptTokenIds, outputs, ...extra })}\n`;
}

type Position = NonNullable<RequestOutput['outputs'][number]['logprobs']>[number];

function position({ tokenId, logprob, rank, top }: Position) {
  return { tokenId, logprob, rank, top: top.map(t => ({ tokenId: t.tokenId, logprob: t.logprob })) };
}

function plainText({ prompt, promptTokenIds, outputs, error }: RequestOutput): string {
  const shown = prompt === null ? `${promptTokenIds.length} token ids` : JSON.stringify(prompt);
  const texts = outputs.map(({ text }) => `  ${JSON.stringify(text)}\n`);
  return `Prompt: ${shown}\n${texts.join('')}${error === null ? '' : `  failed: ${error.message}\n`}`;
}
