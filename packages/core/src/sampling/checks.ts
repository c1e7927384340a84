import { InvalidRequestError } from '../errors.ts';
import { show, suggestion, toCamelCase, toSnakeCase } from '../names.ts';
import type { LogitsProcessor, SamplingParams } from './sampling-params.ts';

/** Checks of single parameters. Each throws InvalidRequestError whose `param` is vLLM's name of the field. */

const NAMES: { readonly [K in keyof Required<SamplingParams>]: true } = {
  n: true,
  bestOf: true,
  presencePenalty: true,
  frequencyPenalty: true,
  repetitionPenalty: true,
  temperature: true,
  topP: true,
  topK: true,
  minP: true,
  seed: true,
  useBeamSearch: true,
  lengthPenalty: true,
  earlyStopping: true,
  maxTokens: true,
  minTokens: true,
  logprobs: true,
  promptLogprobs: true,
  logprobTokenIds: true,
  stop: true,
  stopTokenIds: true,
  includeStopStrInOutput: true,
  ignoreEos: true,
  skipSpecialTokens: true,
  spacesBetweenSpecialTokens: true,
  detokenize: true,
  logitBias: true,
  allowedTokenIds: true,
  badWords: true,
  thinkingTokenBudget: true,
  structuredOutputs: true,
  logitsProcessors: true,
  priority: true,
  cacheSalt: true,
  truncatePromptTokens: true,
};

/** Names of all sampling parameters, in camelCase. */
export const samplingParamNames: readonly string[] = Object.keys(NAMES);

/** Both spellings of every name. */
const camelCase: ReadonlyMap<string, string> = new Map(
  samplingParamNames.flatMap(name => [
    [name, name],
    [toSnakeCase(name), name],
  ]),
);

/** The caller's object by camelCase names. Unknown names and names given twice are errors; undefined counts as absent. */
export function readParams(input: unknown): Map<string, unknown> {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw new InvalidRequestError(`sampling_params must be an object, got ${show(input)}.`, 'sampling_params');
  }
  const given = new Map<string, unknown>();
  for (const [spelled, value] of Object.entries(input)) {
    const name = camelCase.get(spelled) ?? toCamelCase(spelled);
    if (!Object.hasOwn(NAMES, name)) throw unknownParam(spelled);
    if (given.has(name)) fail(name, `is given twice, also as "${spelled}"`);
    if (value !== undefined) given.set(name, value);
  }
  return given;
}

function unknownParam(spelled: string): InvalidRequestError {
  const known = spelled.includes('_') ? samplingParamNames.map(toSnakeCase) : samplingParamNames;
  return new InvalidRequestError(`Unknown sampling parameter "${spelled}".${suggestion(spelled, known)}`, spelled);
}

/** Throws `<param> <what is wrong>.` */
export function fail(name: string, problem: string): never {
  const param = toSnakeCase(name);
  throw new InvalidRequestError(`${param} ${problem}.`, param);
}

/** A finite number for which `inRange` holds; `range` completes "must be". */
export function checkNumber(name: string, value: unknown, range: string, inRange: (value: number) => boolean): number {
  if (typeof value !== 'number' || Number.isNaN(value)) return fail(name, `must be a number, got ${show(value)}`);
  if (!Number.isFinite(value)) return fail(name, `must be a finite number, got ${value}`);
  return inRange(value) ? value : fail(name, `must be ${range}, got ${value}`);
}

export function checkInteger(name: string, value: unknown, range: string, inRange: (value: number) => boolean): number {
  if (!Number.isInteger(value)) return fail(name, `must be an integer, got ${show(value)}`);
  return inRange(value as number) ? (value as number) : fail(name, `must be ${range}, got ${value}`);
}

export function checkBoolean(name: string, value: unknown): boolean {
  return typeof value === 'boolean' ? value : fail(name, `must be true or false, got ${show(value)}`);
}

/** The unsigned 64-bit pattern of a signed 64-bit seed; null for null and -1, which vLLM reads as "none". */
export function checkSeed(value: unknown): bigint | null {
  if (value === null || value === -1 || value === -1n) return null;
  if (typeof value !== 'bigint' && !Number.isInteger(value)) fail('seed', `must be an integer, got ${show(value)}`);
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    fail('seed', `must be a bigint when it is above 2^53, got the number ${value}`);
  }
  const seed = BigInt(value as number | bigint);
  if (seed !== BigInt.asIntN(64, seed)) fail('seed', `must be in [-2^63, 2^63 - 1], got ${seed}`);
  return BigInt.asUintN(64, seed);
}

export function checkStop(value: unknown): readonly string[] {
  if (value === null) return [];
  const stop = Array.isArray(value) ? value : [value];
  for (const text of stop) {
    if (typeof text !== 'string') fail('stop', `must be a string or a list of strings, got ${show(text)}`);
    if (text === '') fail('stop', 'cannot contain an empty string');
  }
  return [...new Set(stop as string[])];
}

/** Kept apart from the prefixes of other salts; the length is bounded because it is hashed with every first block. */
export function checkCacheSalt(value: unknown): string | null {
  if (value === null) return null;
  if (typeof value !== 'string' || value === '') {
    return fail('cacheSalt', `must be a string that is not empty, got ${show(value)}`);
  }
  return value.length <= 256 ? value : fail('cacheSalt', `must have at most 256 characters, got ${value.length}`);
}

export function checkLogitsProcessors(value: unknown): readonly LogitsProcessor[] {
  if (value === null) return [];
  if (Array.isArray(value) && value.every(entry => typeof entry === 'function')) return value;
  return fail('logitsProcessors', `must be a list of functions, got ${show(value)}`);
}
