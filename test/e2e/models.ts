import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ModelConfig } from '../../packages/core/src/models/config.ts';
import { parseGenerationConfig, parseModelConfig } from '../../packages/core/src/models/parse-config.ts';
import { type Checkpoint, type ModelSource, openCheckpoint } from '../../packages/core/src/weights/index.ts';
import { openFolderSource } from '../../packages/server/src/node/folder-source.ts';

const root = join(import.meta.dirname, '../..');

export interface OpenModel {
  readonly modelConfig: ModelConfig;
  readonly checkpoint: Checkpoint;
  readonly source: ModelSource;
  /** Tokens that end a request. */
  readonly eosTokenIds: readonly number[];
}

/** Opens a model folder of the repository, such as `models/tiny-llama`. Close its source after loading. */
export async function openModel(folder: string): Promise<OpenModel> {
  const source = await openFolderSource(join(root, folder));
  const modelConfig = await parseModelConfig(source);
  const generation = await parseGenerationConfig(source, modelConfig.vocabSize);
  const eosTokenIds = generation.eosTokenIds ?? modelConfig.eosTokenIds;
  return { source, modelConfig, eosTokenIds, checkpoint: await openCheckpoint(source) };
}

export interface GoldenCase {
  readonly name: string;
  readonly prompt: string;
  readonly text: string;
  readonly finishReason: string;
  readonly promptTokenIds: readonly number[];
  readonly maxTokens: number;
  readonly tokenIds: readonly number[];
  readonly top2Gaps: readonly number[];
  readonly tokenLogprobs: readonly number[];
  readonly promptLogprobs: readonly (number | null)[];
  readonly logitsAtLastPromptToken?: readonly number[];
}

export function goldenCases(folder: string): GoldenCase[] {
  return JSON.parse(readFileSync(join(root, folder, 'golden.json'), 'utf8')).cases;
}

/** How many tokens come before the first whose best two logits are closer than `gap`, so that errors of both may exchange them. */
export function certainTokens({ top2Gaps, tokenIds }: GoldenCase, gap: number): number {
  const narrow = top2Gaps.findIndex(found => found < gap);
  return narrow < 0 ? tokenIds.length : narrow;
}

/** sqrt(sum (a - b)^2 / sum b^2) */
export function relativeL2(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let error = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    error += (found[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(error / norm);
}
