import { ConfigError } from '../errors.ts';
import { show, suggestion, toCamelCase } from '../names.ts';
import { type Check, integer, oneOf, refuse } from './arg-checks.ts';

/**
 * Speculative decoding by prompt lookup (Saxena 2023): drafts are what followed the last n-gram of the sequence where it stood
 * before.
 */
export interface SpeculativeConfig {
  readonly method: 'ngram';
  /** Drafts per step. */
  readonly numSpeculativeTokens: number;
  /** Longest and shortest n-gram that is looked up, in tokens. */
  readonly promptLookupMax: number;
  readonly promptLookupMin: number;
}

const DEFAULT_NGRAM = 5;

const fields = {
  method: oneOf({ ngram: 'ngram' }),
  numSpeculativeTokens: integer(1, 64),
  promptLookupMax: integer(1, 64),
  promptLookupMin: integer(1, 64),
} as const satisfies { [K in keyof SpeculativeConfig]: Check<SpeculativeConfig[K]> };

/** vLLM's object, in either spelling. The bounds of the n-gram default to each other, and to 5 when neither is given. */
export function speculativeConfig(value: unknown, option: string): SpeculativeConfig {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return refuse(option, 'an object such as {"method": "ngram", "num_speculative_tokens": 4}', value);
  }
  const given = new Map(Object.entries(value).map(([name, field]) => [toCamelCase(name), field]));
  for (const name of given.keys()) {
    if (Object.hasOwn(fields, name)) continue;
    throw new ConfigError(`${option} has an unknown field "${name}".${suggestion(name, Object.keys(fields))}`, option);
  }
  const read = <K extends keyof typeof fields>(name: K, fallback: unknown) => {
    const field = given.get(name) ?? fallback;
    try {
      return (fields[name] as Check<SpeculativeConfig[K]>)(field, name);
    } catch (error) {
      throw new ConfigError(`${option}: ${(error as Error).message}`, option);
    }
  };
  const { promptLookupMax: max, promptLookupMin: min } = Object.fromEntries(given);
  const config = {
    method: read('method', undefined),
    numSpeculativeTokens: read('numSpeculativeTokens', undefined),
    promptLookupMax: read('promptLookupMax', min ?? DEFAULT_NGRAM),
    promptLookupMin: read('promptLookupMin', max ?? DEFAULT_NGRAM),
  };
  if (config.promptLookupMin <= config.promptLookupMax) return config;
  throw new ConfigError(
    `${option}: promptLookupMin must be at most promptLookupMax (${config.promptLookupMax}), got ${show(config.promptLookupMin)}.`,
    option,
  );
}
