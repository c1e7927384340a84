import { parseArgs } from 'node:util';
import { suggestion } from '@quire/core';

/** A wrong command line: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface FlagSpec {
  /** `list` may be given several times; `names` also, and holds names separated by commas or in a JSON list. `json` is an object. */
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'list' | 'names' | 'json';
  readonly help: string;
  /** Shown in help: `--port N`. */
  readonly value?: string;
  /** Environment variable that gives the value when the flag is absent. */
  readonly env?: string;
  /** Single letter. */
  readonly short?: string;
}
export type FlagSpecs = Readonly<Record<string, FlagSpec>>;

interface ValueTypes {
  string: string;
  integer: number;
  number: number;
  boolean: boolean;
  list: readonly string[];
  names: readonly string[];
  json: object;
}
export type FlagValues<S extends FlagSpecs> = { readonly [K in keyof S]?: ValueTypes[S[K]['type']] };

export interface CommandLine<S extends FlagSpecs> {
  readonly flags: FlagValues<S>;
  readonly positionals: readonly string[];
}

export const helpFlag = { help: { type: 'boolean', help: 'Show this help.', short: 'h' } } as const satisfies FlagSpecs;

/**
 * Reads a command line. A boolean flag `--x` has a `--no-x`. Throws UsageError for an unknown flag (naming the nearest), a missing or malformed value.
 */
export function parseFlags<S extends FlagSpecs>(
  argv: readonly string[],
  specs: S,
  env: Readonly<Record<string, string | undefined>>,
): CommandLine<S> {
  const { tokens } = parseArgs({
    args: [...argv],
    options: parseOptions(specs),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values = new Map<string, ValueTypes[keyof ValueTypes]>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const [name, value] = readFlag(token.name, token.rawName, token.value, specs);
    const before = values.get(name);
    values.set(name, Array.isArray(value) && Array.isArray(before) ? [...before, ...value] : value);
  }
  for (const [name, spec] of Object.entries(specs)) {
    const text = spec.env === undefined ? undefined : env[spec.env];
    if (text !== undefined && text !== '' && !values.has(name)) values.set(name, readValue(spec, text, spec.env!));
  }
  return { flags: Object.fromEntries(values) as FlagValues<S>, positionals };
}

function parseOptions(specs: FlagSpecs) {
  return Object.fromEntries(
    Object.entries(specs).map(([name, spec]) => {
      const type: 'boolean' | 'string' = spec.type === 'boolean' ? 'boolean' : 'string';
      return [name, spec.short === undefined ? { type } : { type, short: spec.short }];
    }),
  );
}

function readFlag(
  name: string,
  raw: string,
  text: string | undefined,
  specs: FlagSpecs,
): [string, ValueTypes[keyof ValueTypes]] {
  const positive = name.startsWith('no-') ? name.slice(3) : name;
  const spec = specs[name] ?? (specs[positive]?.type === 'boolean' ? specs[positive] : undefined);
  if (spec === undefined) {
    throw new UsageError(
      `Unknown flag ${raw}.${suggestion(
        raw,
        Object.keys(specs).map(n => `--${n}`),
      )}`,
    );
  }
  if (spec.type !== 'boolean') {
    if (text === undefined || text === '')
      throw new UsageError(`${raw} needs a value: ${raw}=${spec.value ?? 'VALUE'}`);
    return [name, readValue(spec, text, raw)];
  }
  if (text !== undefined && specs[name] === undefined) throw new UsageError(`${raw} takes no value.`);
  return specs[name] === undefined ? [positive, false] : [name, text === undefined || readValue(spec, text, raw)];
}

function readValue(spec: FlagSpec, text: string, shown: string): ValueTypes[keyof ValueTypes] {
  if (spec.type === 'string') return text;
  if (spec.type === 'list') return [text];
  if (spec.type === 'json') return readJson(text, shown);
  if (spec.type === 'names') return readNames(text, shown);
  if (spec.type === 'boolean') {
    if (['true', '1'].includes(text)) return true;
    if (['false', '0'].includes(text)) return false;
    throw new UsageError(`${shown} must be true or false, got "${text}".`);
  }
  const value = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
  const fits = spec.type === 'integer' ? Number.isSafeInteger(value) : Number.isFinite(value);
  if (!fits)
    throw new UsageError(`${shown} must be ${spec.type === 'integer' ? 'an integer' : 'a number'}, got "${text}".`);
  return value;
}

function readNames(text: string, shown: string): string[] {
  if (!text.startsWith('['))
    return text
      .split(',')
      .map(part => part.trim())
      .filter(part => part !== '');
  try {
    const list: unknown = JSON.parse(text);
    if (Array.isArray(list) && list.every(name => typeof name === 'string')) return list;
  } catch {
    // Told below.
  }
  throw new UsageError(`${shown} must be names separated by commas, or a JSON list of texts, got "${text}".`);
}

function readJson(text: string, shown: string): object {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  } catch {
    // Told below.
  }
  throw new UsageError(`${shown} must be a JSON object, got "${text}".`);
}
