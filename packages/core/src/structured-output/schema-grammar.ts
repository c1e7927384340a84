import { show } from '../names.ts';
import { choiceOf, jsonChars, repetition, writeRegex } from './ebnf.ts';
import { GrammarRules, jsonLiteral } from './grammar-rules.ts';
import { anyInteger, anyNumber, integersBetween, numbersBetween } from './number-grammar.ts';
import { objectGrammar } from './object-grammar.ts';
import { parseRegex, searched, whole } from './regex-syntax.ts';
import { type Kind, kindsOf, overlap } from './schema-kinds.ts';
import { mergeSchemas } from './schema-merge.ts';
import {
  failAt,
  isObject,
  parseSchema,
  readCount,
  readNumber,
  readSchema,
  resolveRef,
  type Schema,
} from './schema-nodes.ts';
import { stringFormats } from './string-formats.ts';

/** Items of a list, or characters of a text, that a schema may count. */
const MAX_COUNT = 10_000;
/** Schemas within schemas, where references and combinations are followed. */
const MAX_DEPTH = 100;

/**
 * A grammar of the JSON texts that a schema (draft 2020-12) accepts: every text of the grammar is valid, though not every valid
 * text is in it. Numbers have at most 15 digits before the point, properties come in the schema's order, white space is bounded.
 * Keywords that cannot be kept to are refused. Throws InvalidRequestError that names the place in the schema.
 */
export function schemaGrammar(source: string, anyWhitespace: boolean, strict: boolean): string {
  const compiler = new SchemaCompiler(parseSchema(source), anyWhitespace, strict);
  return compiler.compileRoot();
}

class SchemaCompiler {
  readonly #root: unknown;
  readonly #strict: boolean;
  readonly #rules: GrammarRules;
  /** Rules of references; null while the reference is being followed and no token was taken yet. */
  readonly #references = new Map<unknown, string>();
  /** References that are followed without a token in between. */
  #open: unknown[] = [];
  #depth = 0;

  constructor(root: unknown, anyWhitespace: boolean, strict: boolean) {
    this.#root = root;
    this.#strict = strict;
    this.#rules = new GrammarRules(anyWhitespace);
  }

  compileRoot(): string {
    const root = this.#compile(this.#root, 'json');
    return this.#rules.text(root);
  }

  #compile(schema: unknown, path: string): string {
    if (schema === true) return this.#rules.shared('value');
    if (schema === false) return failAt(path, 'accepts nothing');
    const read = readSchema(schema, path);
    if (read.$ref !== undefined) return this.#reference(read, path);
    return this.#rules.add(this.#body(read, path));
  }

  /** Compiles a subschema behind a token: from there on a reference may lead back. */
  #inside(schema: unknown, path: string): string {
    const open = this.#open;
    this.#open = [];
    const rule = this.#compile(schema, path);
    this.#open = open;
    return rule;
  }

  #reference(schema: Schema, path: string): string {
    const target = resolveRef(this.#root, schema.$ref, path);
    if (Object.keys(schema).length > 1) return this.#rules.add(this.#body(this.#resolve(schema, path), path));
    if (this.#open.includes(target)) failAt(`${path}.$ref`, 'leads back to itself');
    const known = this.#references.get(target);
    if (known !== undefined) return known;
    const rule = this.#rules.reserve();
    this.#references.set(target, rule);
    this.#open.push(target);
    this.#rules.set(rule, this.#compile(target, `${path}.$ref`));
    this.#open.pop();
    return rule;
  }

  /** A schema with what its reference names put into it. */
  #resolve(schema: Schema, path: string): Schema {
    const seen = new Set<unknown>();
    let resolved = schema;
    while (resolved.$ref !== undefined) {
      const { $ref, ...rest } = resolved;
      const target = resolveRef(this.#root, $ref, path);
      if (seen.has(target)) failAt(`${path}.$ref`, 'leads back to itself');
      seen.add(target);
      resolved = mergeSchemas(rest, readSchema(target, path), path);
    }
    return resolved;
  }

  #body(schema: Schema, path: string): string {
    if (this.#rules.isTooLong) failAt(path, 'makes the grammar too long');
    if (++this.#depth > MAX_DEPTH) failAt(path, 'leads back to itself, or is nested too deep');
    const text = this.#alternatives(schema, path);
    this.#depth--;
    return text;
  }

  #alternatives(schema: Schema, path: string): string {
    const { allOf, anyOf, oneOf, ...rest } = schema;
    if (allOf !== undefined) {
      const parts = this.#options(allOf, `${path}.allOf`).map(part => this.#resolve(part, path));
      const merged = parts.reduce((all, part) => mergeSchemas(all, part, path), { ...rest });
      return this.#body({ ...merged, ...pick({ anyOf, oneOf }) }, path);
    }
    if (anyOf !== undefined && oneOf !== undefined) failAt(path, 'has both anyOf and oneOf');
    if (anyOf !== undefined) return this.#choice(this.#options(anyOf, `${path}.anyOf`), rest, `${path}.anyOf`);
    if (oneOf !== undefined) return this.#oneOf(oneOf, rest, `${path}.oneOf`);
    if (rest.const !== undefined) return this.#constants([rest.const], rest, path);
    if (rest.enum !== undefined) return this.#enum(rest, path);
    return this.#types(rest, path);
  }

  #options(value: unknown, path: string): Schema[] {
    if (!Array.isArray(value) || value.length === 0)
      return failAt(path, `must be a list of schemas, got ${show(value)}`);
    return value.map((option, i) => readSchema(option === true ? {} : option, `${path}[${i}]`));
  }

  #choice(options: readonly Schema[], rest: Schema, path: string): string {
    const isPlain = Object.keys(rest).length === 0;
    const rules = options.map((option, i) => {
      const where = `${path}[${i}]`;
      if (isPlain) return this.#compile(option, where);
      return this.#rules.add(this.#body(mergeSchemas(rest, this.#resolve(option, where), where), where));
    });
    return rules.join(' | ');
  }

  /** Exactly one must accept, so no two may accept the same value. */
  #oneOf(value: unknown, rest: Schema, path: string): string {
    const options = this.#options(value, path);
    const resolved = options.map(option => mergeSchemas(rest, this.#resolve(option, path), path));
    const deref = (schema: Schema) => this.#resolve(schema, path);
    resolved.forEach((option, i) => {
      const other = resolved.findIndex((candidate, j) => j > i && overlap(option, candidate, deref));
      if (other >= 0) failAt(path, `may accept one value by options ${i} and ${other}; use anyOf`);
    });
    return this.#choice(options, rest, path);
  }

  #enum(schema: Schema, path: string): string {
    const values = schema.enum;
    if (!Array.isArray(values) || values.length === 0) {
      return failAt(`${path}.enum`, `must be a list of at least one value, got ${show(values)}`);
    }
    return this.#constants(values, schema, path);
  }

  #constants(values: readonly unknown[], schema: Schema, path: string): string {
    const beside = Object.keys(schema).find(name => !['const', 'enum', 'type'].includes(name));
    if (beside !== undefined) failAt(path, `has ${show(beside)} beside constants`);
    const kinds = kindsOf(schema, path);
    const allowed = values.filter(value => kinds.some(kind => isOfKind(value, kind)));
    if (allowed.length === 0) failAt(path, 'accepts nothing: no constant is of the type');
    return [...new Set(allowed.map(jsonLiteral))].join(' | ');
  }

  #types(schema: Schema, path: string): string {
    const kinds = kindsOf(schema, path);
    const isOpen = schema.type === undefined && Object.keys(schema).length === 0;
    if (isOpen) return this.#rules.shared('value');
    return choiceOf(kinds.map(kind => `(${this.#ofKind(kind, schema, path)})`));
  }

  #ofKind(kind: Kind, schema: Schema, path: string): string {
    switch (kind) {
      case 'null':
        return '"null"';
      case 'boolean':
        return '"true" | "false"';
      case 'integer':
      case 'number':
        return this.#number(kind, schema, path);
      case 'string':
        return this.#string(schema, path);
      case 'array':
        return this.#array(schema, path);
      case 'object':
        return objectGrammar(schema, path, this.#strict, this.#rules, (sub, where) => this.#inside(sub, where));
    }
  }

  #number(kind: 'integer' | 'number', schema: Schema, path: string): string {
    const step = readNumber(schema, 'multipleOf', path);
    if (step !== null && !(step === 1 && kind === 'integer')) failAt(`${path}.multipleOf`, 'is not supported');
    const [minimum, exclusiveMinimum] = [
      readNumber(schema, 'minimum', path),
      readNumber(schema, 'exclusiveMinimum', path),
    ];
    const [maximum, exclusiveMaximum] = [
      readNumber(schema, 'maximum', path),
      readNumber(schema, 'exclusiveMaximum', path),
    ];
    const minIsExcluded = exclusiveMinimum !== null && (minimum === null || exclusiveMinimum >= minimum);
    const maxIsExcluded = exclusiveMaximum !== null && (maximum === null || exclusiveMaximum <= maximum);
    const [min, max] = [minIsExcluded ? exclusiveMinimum : minimum, maxIsExcluded ? exclusiveMaximum : maximum];
    if (min === null && max === null) return kind === 'integer' ? anyInteger : anyNumber;
    if (Math.max(Math.abs(min ?? 0), Math.abs(max ?? 0)) >= 1e15) failAt(path, 'has a bound of 10^15 or more');
    const range = { min, max, minIsExcluded, maxIsExcluded };
    if (kind === 'number' && ![min, max].every(bound => bound === null || Number.isInteger(bound))) {
      failAt(path, 'has a bound that is no integer, which is not supported for numbers');
    }
    const text = kind === 'number' ? numbersBetween(range) : integersBetween(...integerBounds(range));
    return text ?? failAt(path, 'accepts nothing: the bounds exclude each other');
  }

  #string(schema: Schema, path: string): string {
    const [min, max] = this.#counts(schema, 'minLength', 'maxLength', path);
    const { pattern, format } = schema;
    if (pattern === undefined && format === undefined) {
      return min === 0 && max === null
        ? this.#rules.shared('string')
        : `"\\"" ${this.#rules.shared('char')}${repetition(min, max)} "\\""`;
    }
    if (min > 0 || max !== null) failAt(path, 'has a length beside a pattern or format, which is not supported');
    if (pattern !== undefined && format !== undefined)
      failAt(path, 'has both a pattern and a format, which is not supported');
    if (pattern === undefined) return `"\\"" ${this.#format(format, path)} "\\""`;
    if (typeof pattern !== 'string') return failAt(`${path}.pattern`, `must be a string, got ${show(pattern)}`);
    const field = `${path}.pattern`;
    return `"\\"" ${writeRegex(searched(parseRegex(pattern, field)), jsonChars, field)} "\\""`;
  }

  #format(format: unknown, path: string): string {
    const field = `${path}.format`;
    const known = typeof format === 'string' && Object.hasOwn(stringFormats, format) ? stringFormats[format]! : null;
    if (known === null) {
      return failAt(field, `${show(format)} is not supported; known are ${Object.keys(stringFormats).join(', ')}`);
    }
    return writeRegex(whole(parseRegex(known, field)), jsonChars, field);
  }

  #array(schema: Schema, path: string): string {
    if (schema.uniqueItems !== undefined && schema.uniqueItems !== false)
      failAt(`${path}.uniqueItems`, 'is not supported');
    const [min, max] = this.#counts(schema, 'minItems', 'maxItems', path);
    const { first, rest } = this.#itemSchemas(schema, path);
    const items = first.map((item, i) => this.#inside(item, `${path}.prefixItems[${i}]`));
    const more = rest === false || (max !== null && max <= items.length) ? null : this.#inside(rest, `${path}.items`);
    if (more === null && min > items.length)
      failAt(path, `accepts nothing: ${min} items, of which ${items.length} may be there`);
    const fixed = max === null ? items : items.slice(0, max);
    return `"[" ${this.#rules.space} ${this.#itemList(fixed, more, min, max)} "]"`;
  }

  /** draft 2020-12's prefixItems and items, or the list of items and additionalItems of older drafts. */
  #itemSchemas(schema: Schema, path: string): { first: unknown[]; rest: unknown } {
    const { items = true, prefixItems, additionalItems = true } = schema;
    if (Array.isArray(items)) return { first: items, rest: additionalItems };
    if (prefixItems === undefined) return { first: [], rest: items };
    if (!Array.isArray(prefixItems)) return failAt(`${path}.prefixItems`, `must be a list, got ${show(prefixItems)}`);
    return { first: prefixItems, rest: items };
  }

  /** Items from the i-th on, built from the end; commas stand only between. */
  #itemList(items: readonly string[], more: string | null, min: number, max: number | null): string {
    const { comma, space } = this.#rules;
    const [least, most] = [Math.max(0, min - items.length), max === null ? null : max - items.length];
    let next = more === null ? '""' : this.#rules.add(`(${comma} ${more})${repetition(least, most)}`);
    if (items.length === 0) {
      if (more === null) return '""';
      const again = this.#rules.add(
        `(${comma} ${more})${repetition(Math.max(0, least - 1), most === null ? null : most - 1)}`,
      );
      return this.#rules.add(`${more} ${again} ${space}${min === 0 ? ' | ""' : ''}`);
    }
    for (let i = items.length - 1; i > 0; i--) {
      next = this.#rules.add(`${comma} ${items[i]} ${next}${i >= min ? ' | ""' : ''}`);
    }
    return this.#rules.add(`${items[0]} ${next} ${space}${min === 0 ? ' | ""' : ''}`);
  }

  #counts(schema: Schema, minName: string, maxName: string, path: string): [number, number | null] {
    const [min, max] = [readCount(schema, minName, path) ?? 0, readCount(schema, maxName, path)];
    if (max !== null && max < min) failAt(path, `accepts nothing: ${minName} is ${min}, ${maxName} is ${max}`);
    if (Math.max(min, max ?? 0) > MAX_COUNT) failAt(path, `counts beyond ${MAX_COUNT}`);
    return [min, max];
  }
}

function integerBounds(range: {
  min: number | null;
  max: number | null;
  minIsExcluded: boolean;
  maxIsExcluded: boolean;
}): [number | null, number | null] {
  const { min, max, minIsExcluded, maxIsExcluded } = range;
  return [
    min === null ? null : minIsExcluded ? Math.floor(min) + 1 : Math.ceil(min),
    max === null ? null : maxIsExcluded ? Math.ceil(max) - 1 : Math.floor(max),
  ];
}

function isOfKind(value: unknown, kind: Kind): boolean {
  if (kind === 'integer') return Number.isInteger(value);
  if (kind === 'array') return Array.isArray(value);
  if (kind === 'object') return isObject(value);
  return kind === 'null' ? value === null : typeof value === kind;
}

function pick(fields: Schema): Schema {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
