import { show as showValue, suggestion } from '@quire/core';
import * as z from 'zod/mini';
import { invalidField } from '../http/errors.ts';

/** Field types of request bodies. Every optional field takes null as "not given", as OpenAI's and vLLM's do. */
export const flag = z.nullish(z.boolean());
export const text = z.nullish(z.string());
export const integer = (min: number) => z.nullish(z.int().check(z.gte(min)));

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
  const known = namesOf(schema);
  const given = Object.keys(body).filter(name => body[name] !== null && !known.has(name));
  for (const name of given) {
    const neutral = Object.hasOwn(schema.unsupported, name) ? schema.unsupported[name] : undefined;
    if (neutral !== undefined && !neutral(body[name], body)) throw notSupported(name, body[name]);
  }
  if (strict && given[0] !== undefined) throw unknownField(given[0], known);
  const result = schema.fields.safeParse(body);
  if (!result.success) throw fieldError(result.error, body);
  return { request: result.data, ignored: given };
}

const names = new WeakMap<object, ReadonlySet<string>>();

/** The fields that a schema knows, gathered once. */
function namesOf<Shape extends z.core.$ZodLooseShape>(schema: RequestSchema<Shape>): ReadonlySet<string> {
  const known = names.get(schema) ?? new Set([...Object.keys(schema.fields.shape), ...schema.passed]);
  names.set(schema, known);
  return known;
}

export function notSupported(param: string, value: unknown): Error {
  return invalidField(param, `${param}: ${show(value)} is not supported by this server.`, 'unsupported_value');
}

export function unknownField(name: string, known: Iterable<string>): Error {
  const message = `${name}: this server does not use the field, and it runs with --strict.${suggestion(name, known)}`;
  return invalidField(name, message, 'unknown_field');
}

/** The first fault. `within` is the path of `value` in the body. */
export function fieldError({ issues }: z.core.$ZodError, value: unknown, within = ''): Error {
  const issue = issues[0]!;
  const param = within + showPath(issue.path, within === '' ? '' : '.');
  return invalidField(
    param,
    `${param} must be ${expectation(issue)}; found ${show(valueAt(value, issue.path))}.`,
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

function showPath(path: readonly PropertyKey[], first: string): string {
  return path.map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i > 0 ? '.' : first}${String(key)}`)).join('');
}

function valueAt(body: unknown, path: readonly PropertyKey[]): unknown {
  let value = body;
  for (const key of path) value = (value as Record<PropertyKey, unknown> | null | undefined)?.[key];
  return value;
}

/** A value in a message: short, and of an object its type, which is what is wrong with most. */
export function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const type = typeof value === 'object' && value !== null ? (value as { type?: unknown }).type : undefined;
  return typeof type === 'string' ? `an object of type ${showValue(type)}` : showValue(value);
}
