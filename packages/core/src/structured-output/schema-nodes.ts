import { show } from '../names.ts';
import { fail } from './structured-outputs.ts';

/** A schema that is an object. */
export type Schema = Readonly<Record<string, unknown>>;

const MAX_DEPTH = 64;
const MAX_SUBSCHEMAS = 4096;

/** Keywords that say nothing of the value. */
const annotations = [
  '$schema',
  '$id',
  '$comment',
  '$defs',
  'definitions',
  'title',
  'description',
  'default',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  '$anchor',
  'discriminator',
]; // prettier-ignore
const keywords = [
  '$ref',
  'allOf',
  'anyOf',
  'oneOf',
  'enum',
  'const',
  'type',
  'properties',
  'required',
  'additionalProperties',
  'items',
  'prefixItems',
  'additionalItems',
  'minItems',
  'maxItems',
  'uniqueItems',
  'minLength',
  'maxLength',
  'pattern',
  'format',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'multipleOf',
]; // prettier-ignore

/** Throws InvalidRequestError that names the place in the schema, such as `json.properties.age`. */
export function failAt(path: string, problem: string): never {
  return fail(path, problem);
}

export function isObject(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The keywords of a schema that count, after those that this engine does not keep to were refused. */
export function readSchema(value: unknown, path: string): Schema {
  if (!isObject(value)) return failAt(path, `must be a schema, got ${show(value)}`);
  const entries = Object.entries(value).filter(([name]) => !annotations.includes(name));
  for (const [name] of entries) {
    if (!keywords.includes(name)) failAt(path, `has the keyword ${show(name)}, which is not supported`);
  }
  return Object.fromEntries(entries);
}

/** A whole number of at least 0, or null where the keyword is absent. */
export function readCount(schema: Schema, name: string, path: string): number | null {
  const value = schema[name];
  if (value === undefined) return null;
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  return failAt(`${path}.${name}`, `must be a whole number of at least 0, got ${show(value)}`);
}

/** Items of a list, or characters of a text, that a schema may count. */
const MAX_COUNT = 10_000;

/** Bounds of a count, in order. */
export function readCounts(schema: Schema, minName: string, maxName: string, path: string): [number, number | null] {
  const [min, max] = [readCount(schema, minName, path) ?? 0, readCount(schema, maxName, path)];
  if (max !== null && max < min) failAt(path, `accepts nothing: ${minName} is ${min}, ${maxName} is ${max}`);
  if (Math.max(min, max ?? 0) > MAX_COUNT) failAt(path, `counts beyond ${MAX_COUNT}`);
  return [min, max];
}

export function readNumber(schema: Schema, name: string, path: string): number | null {
  const value = schema[name];
  if (value === undefined) return null;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  return failAt(`${path}.${name}`, `must be a number, got ${show(value)}`);
}

/** Throws InvalidRequestError when the text is no JSON. */
export function parseJson(source: string, path: string): unknown {
  try {
    return JSON.parse(source);
  } catch (error) {
    return failAt(path, `is not JSON: ${(error as Error).message.split('\n')[0]}`);
  }
}

/** Throws InvalidRequestError when a schema is nested or branched beyond what is compiled. */
export function checkSize(schema: unknown, path: string): void {
  let count = 0;
  const visit = (value: unknown, depth: number): void => {
    if (typeof value !== 'object' || value === null) return;
    if (depth > 2 * MAX_DEPTH) failAt(path, `is nested more than ${MAX_DEPTH} schemas deep`);
    if (++count > MAX_SUBSCHEMAS) failAt(path, `has more than ${MAX_SUBSCHEMAS} objects and lists`);
    for (const entry of Object.values(value)) visit(entry, depth + 1);
  };
  visit(schema, 0);
}

/** The schema that a local reference names. */
export function resolveRef(root: unknown, ref: unknown, path: string): unknown {
  if (typeof ref !== 'string' || !/^#(\/|$)/.test(ref)) {
    return failAt(`${path}.$ref`, `must be a reference within the schema, such as "#/$defs/name", got ${show(ref)}`);
  }
  let target: unknown = root;
  for (const part of ref.split('/').slice(1)) {
    const name = decodePointer(part);
    const holder = typeof target === 'object' && target !== null ? (target as Record<string, unknown>) : {};
    if (!Object.hasOwn(holder, name)) return failAt(`${path}.$ref`, `names nothing: ${show(ref)}`);
    target = holder[name];
  }
  return target;
}

function decodePointer(part: string): string {
  const escaped = part.replaceAll('~1', '/').replaceAll('~0', '~');
  try {
    return decodeURIComponent(escaped);
  } catch {
    return escaped;
  }
}
