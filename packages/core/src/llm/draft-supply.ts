import type { EngineConfig } from '../engine/engine-config.ts';
import { ConfigError } from '../errors.ts';
import { parseModelConfig } from '../models/parse-config.ts';
import { hasTokenizer, loadTokenizer } from '../tokenizer/index.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import type { ModelSource } from '../weights/types.ts';
import type { DraftSupply } from '../worker/index.ts';
import type { ModelInputs } from './model-inputs.ts';
import { readCheckpoint } from './read-checkpoint.ts';

/**
 * The draft model that `speculativeConfig` names, or null. Throws ConfigError for one that cannot guess tokens of the model, and
 * ModelFormatError for a folder that is broken or not supported.
 */
export async function openDraft(
  { config, draftSource }: Pick<ModelInputs, 'draftSource'> & { config: EngineConfig },
  tokenizer: Tokenizer | null,
): Promise<DraftSupply | null> {
  const { speculativeConfig, tensorParallelSize } = config;
  if (speculativeConfig?.method !== 'draft_model') return null;
  const { numSpeculativeTokens, draftTensorParallelSize } = speculativeConfig;
  if (draftSource === undefined) refuse('model names a draft model, but no source of it was given to loadEngine.');
  if (draftTensorParallelSize !== null && draftTensorParallelSize !== tensorParallelSize) {
    refuse(
      `draftTensorParallelSize is ${draftTensorParallelSize}, but both models are divided among the same ranks, of which there ` +
        `are ${tensorParallelSize}. Leave it out.`,
    );
  }
  const modelConfig = await parseModelConfig(draftSource);
  if (tokenizer !== null && (await hasTokenizer(draftSource))) {
    checkTokens(await loadTokenizer(draftSource), tokenizer, draftSource);
  }
  return { modelConfig, checkpoint: await readCheckpoint(draftSource, config), numSpeculativeTokens };
}

/** Throws ConfigError when an id stands for one text here and another there. Special tokens may have other names: they are rare. */
function checkTokens(draft: Tokenizer, target: Tokenizer, { location }: ModelSource): void {
  const count = Math.min(draft.vocabSize, target.vocabSize);
  for (let id = 0; id < count; id++) {
    if (draft.specialTokenIds.has(id) || target.specialTokenIds.has(id)) continue;
    const [guessed, meant] = [draft.tokenBytes(id), target.tokenBytes(id)];
    if (isSame(guessed, meant)) continue;
    refuse(
      `the draft model ${location} has another tokenizer than the model: token ${id} is ${shown(guessed)} there and ` +
        `${shown(meant)} here. Name one with the same.`,
    );
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function shown(bytes: Uint8Array): string {
  return JSON.stringify(new TextDecoder().decode(bytes));
}

function refuse(problem: string): never {
  throw new ConfigError(`speculativeConfig: ${problem}`, 'speculativeConfig');
}
