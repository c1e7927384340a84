import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type EngineOptions,
  loadTokenizer,
  parseEngineConfig,
  type RequestOutput,
  type SamplingParams,
} from '@quire/core';
import { silentLog } from '../../packages/server/src/app/context.ts';
import { EngineProcess, type EngineProcessOptions } from '../../packages/server/src/engine-process/engine-process.ts';
import { nodeRuntime, openFolderSource } from '../../packages/server/src/index.ts';
import { openEngine } from '../../packages/server/src/serve/open-engine.ts';
import { tinyLlama } from './tiny-server.ts';

/** What becomes of the processes, in order: see crashing-host.mjs. */
export type CrashPlan = readonly (Readonly<Record<string, unknown>> | null)[];

const crashing = new URL('./crashing-host.mjs', import.meta.url);
export const tinyOptions: EngineOptions = { model: tinyLlama, numGpuBlocksOverride: 256, maxModelLen: 256 };

export interface OpenProcess {
  engine: EngineProcess;
  /** Processes that were started. */
  numStarted(): number;
}

export async function openProcess(
  crashes: CrashPlan = [],
  options: EngineOptions = {},
  changes: Partial<EngineProcessOptions> = {},
): Promise<OpenProcess> {
  const all = { ...tinyOptions, ...options };
  const counter = join(mkdtempSync(join(tmpdir(), 'quire-')), 'count');
  writeFileSync(counter, '0');
  process.env.QUIRE_TEST_CRASH = JSON.stringify(crashes);
  process.env.QUIRE_TEST_CRASH_COUNT = counter;
  const engine = await EngineProcess.open({
    options: all,
    config: parseEngineConfig(all),
    device: 'reference',
    tokenizer: tinyTokenizer(),
    log: silentLog,
    entry: crashing,
    ...changes,
  });
  return { engine, numStarted: () => Number(readFileSync(counter, 'utf8')) };
}

/** The same engine in this process. */
export async function openInProcess(options: EngineOptions = {}) {
  return openEngine({ ...tinyOptions, ...options }, { device: 'reference', runtime: nodeRuntime });
}

async function tinyTokenizer() {
  const source = await openFolderSource(tinyLlama);
  try {
    return await loadTokenizer(source);
  } finally {
    await source.close();
  }
}

interface Generates {
  generate(prompt: string, params: SamplingParams, options: { outputKind: 'delta' }): AsyncIterable<RequestOutput>;
}

/** What a client has at the end, put together from deltas, so that a gap or a duplicate shows. */
export async function collectDeltas(engine: Generates, prompt: string, params: SamplingParams) {
  const choices: { text: string; tokenIds: number[]; logprobs: unknown[]; end: unknown }[] = [];
  let promptLogprobs: unknown = null;
  let failure: string | null = null;
  for await (const output of engine.generate(prompt, params, { outputKind: 'delta' })) {
    promptLogprobs ??= output.promptLogprobs;
    failure = output.error?.message ?? null;
    for (const { index, text, tokenIds, logprobs, finishReason, stopReason } of output.outputs) {
      choices[index] ??= { text: '', tokenIds: [], logprobs: [], end: null };
      const choice = choices[index]!;
      if (choice.end !== null) throw new Error('an output after the end');
      choice.text += text;
      choice.tokenIds.push(...tokenIds);
      choice.logprobs.push(...(logprobs ?? []));
      if (finishReason !== null) choice.end = { finishReason, stopReason };
    }
  }
  return { choices, promptLogprobs, failure };
}
