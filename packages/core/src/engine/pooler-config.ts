import { ConfigError } from '../errors.ts';
import type { ModelConfig, PoolingConfig } from '../models/config.ts';
import { lastToken } from '../models/pooling.ts';
import { suggestion, toCamelCase } from '../names.ts';
import { boolean, type Check, oneOf, refuse } from './arg-checks.ts';

/** What a caller says of pooling; null: as the model says. */
export interface PoolerConfig {
  readonly type: PoolingConfig['type'] | null;
  readonly normalize: boolean | null;
}

const fields = {
  poolingType: oneOf({ LAST: 'last', last: 'last', MEAN: 'mean', mean: 'mean' }),
  normalize: boolean,
  useActivation: boolean,
} as const satisfies Readonly<Record<string, Check<unknown>>>;

/** vLLM's object, in either spelling. use_activation is its newer name of normalize. */
export function poolerConfig(value: unknown, option: string): PoolerConfig {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return refuse(option, 'an object such as {"pooling_type": "MEAN", "normalize": true}', value);
  }
  const given = new Map<string, unknown>();
  for (const [spelled, field] of Object.entries(value)) {
    const name = toCamelCase(spelled);
    if (!Object.hasOwn(fields, name)) {
      throw new ConfigError(
        `${option} has an unknown field "${spelled}".${suggestion(name, Object.keys(fields))}`,
        option,
      );
    }
    given.set(name, fields[name as keyof typeof fields](field, `${option}.${spelled}`));
  }
  const normalize = given.get('useActivation') ?? given.get('normalize') ?? null;
  return {
    type: (given.get('poolingType') as PoolerConfig['type']) ?? null,
    normalize: normalize as boolean | null,
  };
}

/** The model as it is to run: it generates, or embeds. auto: as its files say. */
export function chooseRunner(
  model: ModelConfig,
  runner: 'auto' | 'generate' | 'pooling',
  pooler: PoolerConfig | null,
): ModelConfig {
  if (runner === 'generate') return { ...model, pooling: null };
  const asked = runner === 'pooling' || pooler !== null;
  const own = model.pooling ?? (asked ? lastToken : null);
  if (own === null) return model;
  return {
    ...model,
    pooling: { ...own, type: pooler?.type ?? own.type, normalize: pooler?.normalize ?? own.normalize },
  };
}
