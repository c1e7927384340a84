import { show as showValue, suggestion } from '@quire/core';
import * as z from 'zod/mini';
import { invalidField } from '../http/errors.ts';

/** Field types of request bodies. Every optional field takes null as "not given", as OpenAI's and vLLM's do. */
export const flag = z.nullish(z.boolean());
export const text = z.nullish(z.string());
export const integer = (min: number) => z.nullish(z.int().check(z.gte(min)));
export const cacheSalt = z.nullish(z.string().check(z.minLength(1), z.maxLength(256)));
export const tokenIds = z.array(z.int().check(z.gte(0)));

/** A known field that we do not do: the values that ask for nothing, besides null. */
export type NeutralValues = (value: unknown, body: Readonly<Record<string, unknown>>) => boolean;

export interface RequestSchema<Shape extends z.core.$ZodLooseShape> {
  readonly fields: z.ZodMiniObject<Shape, z.core.$loose>;
  /** Fields that are handed to the engine, which checks them. */
  readonly passed: readonly string[];
  readonly unsupported: Readonly<Record<string, NeutralValues>>;
}

export interface Parsed<T> {
  readonly request: T;
  /** Fields that were accepted without effect: unknown ones, and unsupported ones whose value asks for nothing. */
  readonly ignored: readonly string[];
}

/**
 * Checks a body against its schema. Throws HttpError 400 that names the field: wrong type, out of range, a known field with
 * a value that is not supported, and, when `strict`, any field that would be ignored.
 */
export function parseRequest<Shape extends z.core.$ZodLooseShape>(
  schema: RequestSchema<Shape>,
  body: Readonly<Record<string, unknown>>,
  strict: boolean,
): Parsed<z.output<z.ZodMiniObject<Shape, z.core.$loose>>> {
  const known = [...Object.keys(schema.fields.shape), ...schema.passed];
  const given = Object.keys(body).filter(name => body[name] !== null && !known.includes(name));
  for (const name of given) {
    const neutral = Object.hasOwn(schema.unsupported, name) ? schema.unsupported[name] : undefined;
    if (neutral !== undefined && !neutral(body[name], body)) throw notSupported(name, body[name]);
  }
  if (strict && given[0] !== undefined) throw unknownField(given[0], known);
  const result = schema.fields.safeParse(body);
  if (!result.success) throw fieldError(result.error.issues[0]!, body);
  return { request: result.data, ignored: given };
}

export function notSupported(param: string, value: unknown): Error {
  return invalidField(param, `${param}: ${show(value)} is not supported by this server.`, 'unsupported_value');
}

function unknownField(name: string, known: readonly string[]): Error {
  const message = `${name}: this server does not use the field, and it runs with --strict.${suggestion(name, known)}`;
  return invalidField(name, message, 'unknown_field');
}

function fieldError(issue: z.core.$ZodIssue, body: unknown): Error {
  if (issue.code === 'invalid_union') return unionError(issue, body);
  const param = showPath(issue.path);
  return invalidField(
    param,
    `${param} must be ${expectation(issue)}; found ${show(valueAt(body, issue.path))}.`,
    'invalid_value',
  );
}

/** Of a union, the alternative that got deepest into the value tells best what is wrong. */
function unionError(issue: z.core.$ZodIssueInvalidUnion, body: unknown): Error {
  const firsts = issue.errors.flatMap(errors => errors.slice(0, 1));
  const deepest = firsts.reduce((a, b) => (b.path.length > a.path.length ? b : a), firsts[0]!);
  if (deepest.path.length > 0) return fieldError({ ...deepest, path: [...issue.path, ...deepest.path] }, body);
  const param = showPath(issue.path);
  const expected = [...new Set(firsts.map(expectation))].join(' or ');
  return invalidField(
    param,
    `${param} must be ${expected}; found ${show(valueAt(body, issue.path))}.`,
    'invalid_value',
  );
}

const typeNames: Readonly<Record<string, string>> = {
  int: 'an integer',
  number: 'a finite number',
  string: 'a string',
  boolean: 'true or false',
  array: 'an array',
  object: 'an object',
  record: 'an object',
};

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return typeNames[issue.expected] ?? `of type ${issue.expected}`;
    case 'too_small':
      return `${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}${units(issue.origin)}`;
    case 'too_big':
      return `${issue.inclusive ? 'at most' : 'less than'} ${issue.maximum}${units(issue.origin)}`;
    case 'invalid_value':
      return `one of ${issue.values.map(v => JSON.stringify(v)).join(', ')}`;
    default:
      return issue.message;
  }
}

function units(origin: string): string {
  if (origin === 'string') return ' characters long';
  return origin === 'array' ? ' entries long' : '';
}

function showPath(path: readonly PropertyKey[]): string {
  return path.map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i > 0 ? '.' : ''}${String(key)}`)).join('');
}

function valueAt(body: unknown, path: readonly PropertyKey[]): unknown {
  let value = body;
  for (const key of path) value = (value as Record<PropertyKey, unknown> | null | undefined)?.[key];
  return value;
}

/** A value in a message: short, and of an object its type, which is what is wrong with most. */
function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const type = typeof value === 'object' && value !== null ? (value as { type?: unknown }).type : undefined;
  return typeof type === 'string' ? `an object of type ${showValue(type)}` : showValue(value);
}
