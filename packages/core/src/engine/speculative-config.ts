import { ConfigError } from '../errors.ts';
import { show, suggestion, toCamelCase } from '../names.ts';
import { type Check, integer, oneOf, orNull, refuse, text } from './arg-checks.ts';

/** Speculative decoding by prompt lookup: drafts are what followed the last n-gram of the sequence where it stood before. */
export interface PromptLookupConfig {
  readonly method: 'ngram';
  /** Drafts per step. */
  readonly numSpeculativeTokens: number;
  /** Longest and shortest n-gram that is looked up, in tokens. */
  readonly promptLookupMax: number;
  readonly promptLookupMin: number;
}

/** Speculative decoding with a smaller model of the same vocabulary, on the same device. */
export interface DraftModelConfig {
  readonly method: 'draft_model';
  readonly numSpeculativeTokens: number;
  /** Where the smaller model is, as `model` of the engine. */
  readonly model: string;
  /** Of the smaller model in a cache; null: the newest. */
  readonly revision: string | null;
  /** Ranks that the smaller model is divided among: as many as the engine's, which is what null means. */
  readonly draftTensorParallelSize: number | null;
}

export type SpeculativeConfig = PromptLookupConfig | DraftModelConfig;

const DEFAULT_NGRAM = 5;

type FieldsOf<C> = { readonly [K in keyof C]: Check<C[K]> };

const common = { numSpeculativeTokens: integer(1, 64) };
const ngram: FieldsOf<PromptLookupConfig> = {
  method: oneOf({ ngram: 'ngram' }),
  ...common,
  promptLookupMax: integer(1, 64),
  promptLookupMin: integer(1, 64),
};
const draftModel: FieldsOf<DraftModelConfig> = {
  method: oneOf({ draft_model: 'draft_model' }),
  ...common,
  model: text,
  revision: orNull(text),
  draftTensorParallelSize: orNull(integer(1, 1024)),
};
const methodOf = oneOf({ ngram: 'ngram', draft_model: 'draft_model' });
const fieldNames = [...new Set([...Object.keys(ngram), ...Object.keys(draftModel)])];

/**
 * vLLM's object, in either spelling. Without a method, a `model` means draft_model. The bounds of the n-gram default to each other,
 * and to 5 when neither is given.
 */
export function speculativeConfig(value: unknown, option: string): SpeculativeConfig {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return refuse(option, 'an object such as {"method": "ngram", "num_speculative_tokens": 4}', value);
  }
  const given = new Map(Object.entries(value).map(([name, field]) => [toCamelCase(name), field]));
  for (const name of given.keys()) {
    if (fieldNames.includes(name)) continue;
    throw new ConfigError(`${option} has an unknown field "${name}".${suggestion(name, fieldNames)}`, option);
  }
  const method = naming(option, () =>
    methodOf(given.get('method') ?? (given.has('model') ? 'draft_model' : undefined), 'method'),
  );
  return method === 'ngram'
    ? promptLookup(given, option)
    : read(given, draftModel, { method, revision: null, draftTensorParallelSize: null }, option);
}

type Given = ReadonlyMap<string, unknown>;

function promptLookup(given: Given, option: string): PromptLookupConfig {
  const [max, min] = [given.get('promptLookupMax'), given.get('promptLookupMin')];
  const defaults = { promptLookupMax: min ?? DEFAULT_NGRAM, promptLookupMin: max ?? DEFAULT_NGRAM };
  const config = read(given, ngram, defaults, option);
  if (config.promptLookupMin <= config.promptLookupMax) return config;
  throw new ConfigError(
    `${option}: promptLookupMin must be at most promptLookupMax (${config.promptLookupMax}), got ${show(config.promptLookupMin)}.`,
    option,
  );
}

/** Every field of a method, checked. Throws ConfigError for one of the other method. */
function read<C extends SpeculativeConfig>(
  given: Given,
  fields: FieldsOf<C>,
  defaults: { readonly [K in keyof C]?: unknown },
  option: string,
): C {
  for (const name of given.keys()) {
    if (Object.hasOwn(fields, name)) continue;
    throw new ConfigError(
      `${option}: ${name} is no field of method ${Object.hasOwn(fields, 'model') ? 'draft_model' : 'ngram'}.`,
      option,
    );
  }
  const names = Object.keys(fields) as (keyof C & string)[];
  const values = names.map(name => naming(option, () => fields[name](given.get(name) ?? defaults[name], name)));
  return Object.fromEntries(names.map((name, i) => [name, values[i]])) as unknown as C;
}

/** Errors name the option beside the field. */
function naming<T>(option: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw new ConfigError(`${option}: ${(error as Error).message}`, option);
  }
}
