import { show } from '../names.ts';
import { failAt, isObject, type Schema } from './schema-nodes.ts';

export type Kind = 'object' | 'array' | 'string' | 'number' | 'integer' | 'boolean' | 'null';

const kinds: readonly Kind[] = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null'];
const all: readonly Kind[] = ['object', 'array', 'string', 'number', 'boolean', 'null'];

/** Keywords that speak of values of one kind only. */
const keywordsOf: readonly (readonly [Kind, readonly string[]])[] = [
  ['object', ['properties', 'required', 'additionalProperties']],
  ['array', ['items', 'prefixItems', 'additionalItems', 'minItems', 'maxItems', 'uniqueItems']],
  ['string', ['minLength', 'maxLength', 'pattern', 'format']],
  ['number', ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf']],
];

/** The kinds of values that a schema may accept. Without a type, they are those that its keywords speak of. */
export function kindsOf(schema: Schema, path: string): readonly Kind[] {
  const { type } = schema;
  if (type !== undefined) return readType(type, path);
  const implied = keywordsOf.filter(([, names]) => names.some(name => Object.hasOwn(schema, name)));
  return implied.length > 0 ? implied.map(([kind]) => kind) : all;
}

function readType(type: unknown, path: string): readonly Kind[] {
  const listed = Array.isArray(type) ? type : [type];
  const isKnown = listed.length > 0 && listed.every(name => kinds.includes(name));
  if (!isKnown) failAt(`${path}.type`, `must be one or several of ${kinds.join(', ')}, got ${show(type)}`);
  const unique = [...new Set(listed as Kind[])];
  return unique.includes('number') ? unique.filter(kind => kind !== 'integer') : unique;
}

/**
 * Whether both schemas might accept one value, as far as can be told: not where their kinds differ, where both list constants
 * and share none, or where a property that both require has different constants.
 */
export function overlap(a: Schema, b: Schema, resolve: (schema: Schema) => Schema): boolean {
  const [constantsA, constantsB] = [constantsOf(a), constantsOf(b)];
  if (constantsA !== null && constantsB !== null) return constantsA.some(value => constantsB.includes(value));
  const [kindsA, kindsB] = [kindsOf(a, 'json').map(wider), kindsOf(b, 'json').map(wider)];
  if (constantsA === null && constantsB === null && !kindsA.some(kind => kindsB.includes(kind))) return false;
  return !differInProperty(a, b, resolve);
}

function wider(kind: Kind): Kind {
  return kind === 'integer' ? 'number' : kind;
}

function constantsOf(schema: Schema): string[] | null {
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  return Array.isArray(schema.enum) ? schema.enum.map(value => JSON.stringify(value)) : null;
}

function differInProperty(a: Schema, b: Schema, resolve: (schema: Schema) => Schema): boolean {
  if (!isObject(a.properties) || !isObject(b.properties)) return false;
  const required = [a.required, b.required].map(names => (Array.isArray(names) ? names : []));
  return Object.keys(a.properties).some(name => {
    const [ofA, ofB] = [(a.properties as Schema)[name], (b.properties as Schema)[name]];
    if (!isObject(ofA) || !isObject(ofB) || !required.every(names => names.includes(name))) return false;
    const [constantsA, constantsB] = [constantsOf(resolve(ofA)), constantsOf(resolve(ofB))];
    return constantsA !== null && constantsB !== null && !constantsA.some(value => constantsB.includes(value));
  });
}
