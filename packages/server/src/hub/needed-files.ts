import type { SourceOptions } from '@quire/core';
import { isPlainFileName } from '@quire/core/weights';

/** Which weights of a model are wanted: the best format that there is, one alone, or none. */
export type WantedWeights = NonNullable<SourceOptions['weights']>;

/** What is read of a model besides its weights, as far as the model has it. */
const descriptions = [
  'config.json',
  'generation_config.json',
  'quantize_config.json',
  'quant_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'chat_template.jinja',
  'chat_template.json',
  'modules.json',
  '1_Pooling/config.json',
];

/** In order of preference, as weights are opened: pickles only where there are no safetensors. */
const formats = [
  { name: 'safetensors', index: 'model.safetensors.index.json', single: 'model.safetensors' },
  { name: 'pt', index: 'pytorch_model.bin.index.json', single: 'pytorch_model.bin' },
] as const;

/** The descriptions among `names`. */
export function describingFiles(names: ReadonlySet<string>): string[] {
  return descriptions.filter(name => names.has(name));
}

/** The file that the weights begin with: an index of several files, or the one file. null where there is none. */
export function weightsEntry(names: ReadonlySet<string>, wanted: WantedWeights): string | null {
  for (const { name, index, single } of formats) {
    if (wanted !== 'any' && wanted !== name) continue;
    const entry = [index, single].find(file => names.has(file));
    if (entry !== undefined) return entry;
  }
  return null;
}

/** The files that an index names, in order; none for a file that is no index. What is wrong with an index is told by who loads it. */
export function shardsOf(entry: string, text: string): string[] {
  if (!entry.endsWith('.index.json')) return [];
  try {
    const { weight_map: map } = JSON.parse(text) as { weight_map?: Record<string, unknown> };
    const files = Object.values(map ?? {}).filter(file => typeof file === 'string' && isPlainFileName(file));
    return [...new Set(files as string[])].sort();
  } catch {
    return [];
  }
}

/** Whether a folder with these files has a configuration and a tokenizer. */
export function isDescribed(names: ReadonlySet<string>): boolean {
  return names.has('config.json') && (names.has('tokenizer.json') || names.has('vocab.json'));
}
