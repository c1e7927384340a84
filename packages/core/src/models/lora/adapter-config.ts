import { ModelFormatError } from '../../errors.ts';
import { type JsonCodes, readJsonObject } from '../../weights/json-file.ts';
import { JsonFloat, type JsonValue, showJson } from '../../weights/json-tree.ts';
import type { ModelSource } from '../../weights/types.ts';
import { ConfigFields } from '../config-fields.ts';

export const ADAPTER_CONFIG = 'adapter_config.json';
const codes: JsonCodes = { syntax: 'CF_JSON', utf8: 'CF_JSON', duplicate: 'CF_DUP', limit: 'CF_LIMIT' };
const MAX_RANK = 2 ** 16;
/** Names and numbers of modules in a list: each is compared with each tensor, on the engine's thread. */
const MAX_LISTED = 4096;

/** What adapter_config.json says of an adapter, as PEFT saves it. */
export interface AdapterConfig {
  readonly fields: ConfigFields;
  readonly rank: number;
  readonly alpha: number;
  /** Other ranks and alphas, by the end of a module's name. */
  readonly rankPattern: ReadonlyMap<string, number>;
  readonly alphaPattern: ReadonlyMap<string, number>;
  /** Products are scaled by alpha / sqrt(rank) (Kalajdzievski 2023), and not by alpha / rank. */
  readonly usesRsLora: boolean;
  /** Names or ends of names of the modules that it changes; null: the tensors alone say which. */
  readonly targets: readonly string[] | null;
  /** Layers that it changes; null: all. */
  readonly layers: readonly number[] | null;
}

/** Fields that change nothing of what an adapter computes once it is trained. */
const ignored = new Set([
  'auto_mapping',
  'base_model_name_or_path',
  'ensure_weight_tying',
  'eva_config',
  'inference_mode',
  'layers_pattern',
  'loftq_config',
  'lora_dropout',
  'megatron_core',
  'peft_version',
  'qalora_group_size',
  'revision',
  'runtime_config',
  'task_type',
]);

/** Fields that would change the result, with what is said of them: they must be absent, null, false or empty. */
const unsupported: Readonly<Record<string, string>> = {
  alora_invocation_tokens: 'null: adapters act on every token',
  arrow_config: 'null: adapters are not mixed by a router',
  corda_config: 'null: the weights of the model are not changed',
  layer_replication: 'null: layers are not repeated',
  lora_bias: 'false: adapters have no biases',
  megatron_config: 'null: an adapter of a model in the layout of Hugging Face',
  modules_to_save: 'null: whole modules are not replaced, only low-rank changes are added',
  target_parameters: 'null: adapters change linear layers alone',
  trainable_token_indices: 'null: embeddings are not changed',
  use_bdlora: 'false',
  use_dora: 'false: magnitudes of DoRA are not computed',
  use_qalora: 'false',
};

/** Ways to begin that change the model's own weights, so that the adapter alone is not what was trained. */
const changesModel = /^(pissa|olora|loftq|corda|lora_ga)/;

/**
 * Reads adapter_config.json of PEFT. A field that would change the result and is not supported, or is not known, is an error.
 * @throws ModelFormatError with a code CF_*.
 */
export async function readAdapterConfig(source: ModelSource): Promise<AdapterConfig> {
  const members = await readJsonObject(source, ADAPTER_CONFIG, codes);
  if (members === null) {
    throw new ModelFormatError('CF_MISSING', 'the file is missing', {
      file: ADAPTER_CONFIG,
      expected: 'the folder of a LoRA adapter as PEFT saves it',
      advice: `Check the path ${source.location}.`,
    });
  }
  const fields = new ConfigFields(ADAPTER_CONFIG, members);
  fields.choice('peft_type', { LORA: true }, undefined, 'CF_UNSUPPORTED');
  checkFields(fields);
  const config = {
    fields,
    rank: fields.integer('r', 1, MAX_RANK),
    alpha: fields.float('lora_alpha', Number.isFinite, 'a number', 8),
    rankPattern: pattern(fields, 'rank_pattern', rank => Number.isInteger(rank) && rank >= 1, 'a rank'),
    alphaPattern: pattern(fields, 'alpha_pattern', () => true, 'a number'),
    usesRsLora: fields.boolean('use_rslora', false),
    targets: targets(fields),
    layers: layers(fields),
  };
  refuseUnknown(fields, members);
  return config;
}

function checkFields(fields: ConfigFields): void {
  fields.choice('bias', { none: true }, 'none', 'CF_UNSUPPORTED');
  // The matrices of the adapter lie the same way whichever way those of the model do.
  fields.boolean('fan_in_fan_out', false);
  const start = fields.get('init_lora_weights');
  if (typeof start === 'string' && changesModel.test(start)) {
    throw fields.bad('init_lora_weights', 'a start that leaves the weights of the model as they are', 'CF_UNSUPPORTED');
  }
  for (const [name, expected] of Object.entries(unsupported)) {
    if (isEmpty(fields.get(name))) continue;
    throw fields.bad(name, expected, 'CF_UNSUPPORTED', shown(fields.get(name)));
  }
}

/** A regular expression is not evaluated: it comes from outside, and the tensors say what it has matched. */
function targets(fields: ConfigFields): readonly string[] | null {
  const value = fields.get('target_modules') ?? null;
  fields.get('exclude_modules');
  if (value === null || typeof value === 'string') return null;
  const isList = isShortList(value) && value.length > 0 && value.every(name => typeof name === 'string');
  if (isList) return isEmpty(fields.get('exclude_modules')) ? (value as string[]) : null;
  throw fields.bad(
    'target_modules',
    `a list of ${MAX_LISTED} names at most, or a regular expression`,
    'CF_FIELD',
    shown(value),
  );
}

function layers(fields: ConfigFields): readonly number[] | null {
  const value = fields.get('layers_to_transform') ?? null;
  if (value === null) return null;
  const list = Array.isArray(value) ? value : [value];
  const isList = isShortList(list) && list.every(layer => typeof layer === 'number' && layer >= 0);
  if (isList) return list as number[];
  const expected = `the number of a layer, a list of ${MAX_LISTED} at most, or null`;
  throw fields.bad('layers_to_transform', expected, 'CF_FIELD', shown(value));
}

function isShortList(value: JsonValue): value is JsonValue[] {
  return Array.isArray(value) && value.length <= MAX_LISTED;
}

/** Numbers by names of modules. PEFT takes regular expressions too, which are refused. */
function pattern(
  fields: ConfigFields,
  name: string,
  accepts: (value: number) => boolean,
  expected: string,
): Map<string, number> {
  const entries = new Map<string, number>();
  const object = fields.object(name);
  const members = fields.get(name);
  if (object === null || !(members instanceof Map)) return entries;
  if (members.size > MAX_LISTED) throw fields.bad(name, `at most ${MAX_LISTED} modules`, 'CF_LIMIT', `${members.size}`);
  for (const key of members.keys()) {
    if (!/^[\w.]+$/.test(key)) {
      throw object.bad(key, 'the name of a module, or its end', 'CF_UNSUPPORTED', 'a regular expression');
    }
    entries.set(key, object.float(key, accepts, expected));
  }
  return entries;
}

function refuseUnknown(fields: ConfigFields, members: ReadonlyMap<string, JsonValue>): void {
  for (const [name, value] of members) {
    if (fields.wasRead(name) || ignored.has(name) || isEmpty(value)) continue;
    throw fields.bad(
      name,
      'a field that is known here, or null: it may change the result',
      'CF_UNSUPPORTED',
      shown(value),
    );
  }
}

function isEmpty(value: JsonValue | undefined): boolean {
  if (value === undefined || value === null || value === false || value === '') return true;
  return (Array.isArray(value) && value.length === 0) || (value instanceof Map && value.size === 0);
}

function shown(value: JsonValue | undefined): string {
  if (!Array.isArray(value)) return value instanceof JsonFloat ? String(value.value) : showJson(value);
  return `[${value.slice(0, 8).map(showJson).join(', ')}]`;
}

/** The entry for a module, whose name ends with the key; else `fallback`. */
export function ofModule(entries: ReadonlyMap<string, number>, module: string, fallback: number): number {
  for (const [key, value] of entries) if (endsWithName(module, key)) return value;
  return fallback;
}

/** Whether a name is another one, or ends with it behind a dot. */
export function endsWithName(name: string, end: string): boolean {
  return name === end || name.endsWith(`.${end}`);
}
