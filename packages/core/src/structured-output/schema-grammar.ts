import { show } from '../names.ts';
import { arrayGrammar } from './array-grammar.ts';
import { choiceOf } from './ebnf.ts';
import { type GrammarRules, jsonLiteral } from './grammar-rules.ts';
import { numberGrammar } from './number-schema.ts';
import { type Compile, objectGrammar } from './object-grammar.ts';
import { type Kind, kindsOf, overlap } from './schema-kinds.ts';
import { mergeSchemas } from './schema-merge.ts';
import { checkSize, failAt, isObject, parseJson, readSchema, resolveRef, type Schema } from './schema-nodes.ts';
import { stringGrammar } from './string-grammar.ts';

/** Schemas within schemas, where references and combinations are followed. */
const MAX_DEPTH = 100;

/**
 * A grammar of the JSON texts that a schema (draft 2020-12) accepts: every text of the grammar is valid, though not every valid
 * text is in it. Numbers have at most 15 digits before the point, properties come in the schema's order, white space is bounded.
 * Keywords that cannot be kept to are refused. Throws InvalidRequestError that names the place in the schema.
 */
export function schemaGrammar(source: string, rules: GrammarRules, strict: boolean): string {
  return rules.text(compileSchema(parseJson(source, 'json'), 'json', rules, strict));
}

/** The same as a rule among others; `path` is where the schema stands. Returns the rule's name. */
export function compileSchema(schema: unknown, path: string, rules: GrammarRules, strict: boolean): string {
  checkSize(schema, path);
  return new SchemaCompiler(schema, rules, strict).compileRoot(path);
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

  constructor(root: unknown, rules: GrammarRules, strict: boolean) {
    this.#root = root;
    this.#strict = strict;
    this.#rules = rules;
  }

  compileRoot(path: string): string {
    return this.#compile(this.#root, path);
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
    const inside: Compile = (sub, where) => this.#inside(sub, where);
    switch (kind) {
      case 'null':
        return '"null"';
      case 'boolean':
        return '"true" | "false"';
      case 'integer':
      case 'number':
        return numberGrammar(kind, schema, path);
      case 'string':
        return stringGrammar(schema, path, this.#rules);
      case 'array':
        return arrayGrammar(schema, path, this.#rules, inside);
      case 'object':
        return objectGrammar(schema, path, this.#strict, this.#rules, inside);
    }
  }
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
