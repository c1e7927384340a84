import { InvalidRequestError } from '../errors.ts';
import { show, suggestion, toCamelCase, toSnakeCase } from '../names.ts';

/**
 * What the text of a completion must be: exactly one of json, jsonObject, regex, choice, grammar and structuralTag. Names and meaning are
 * those of vLLM's StructuredOutputsParams (snake_case is accepted too).
 */
export interface StructuredOutputs {
  /** A JSON schema, as a value or as text. Properties that the schema does not name are excluded unless it allows them. */
  json?: object | boolean | string;
  /** true: any JSON object. */
  jsonObject?: boolean;
  /** The whole text matches this regular expression. */
  regex?: string;
  /** The text is one of these. */
  choice?: readonly string[];
  /** A grammar in EBNF whose first rule is `root`. */
  grammar?: string;
  /** Literal text and JSON put together, in XGrammar's notation, as a value or as text: see `structuralTagGrammar`. */
  structuralTag?: object | string;
  /** JSON on one line, with one space after commas and colons and no other white space. Default false. */
  disableAnyWhitespace?: boolean;
  /** false: objects may have properties that their schema neither names nor excludes. Default true. */
  disableAdditionalProperties?: boolean;
}

/** A constraint that was checked for form and size; equal `key`s mean equal constraints. */
export interface GrammarSpec {
  readonly kind: (typeof KINDS)[number];
  /** The JSON schema, the pattern, the grammar or the tag, as text; empty for jsonObject. */
  readonly source: string;
  readonly anyWhitespace: boolean;
  readonly strict: boolean;
  readonly key: string;
}

/** Characters of one constraint. */
export const MAX_GRAMMAR_LENGTH = 65_536;
export const MAX_CHOICES = 1024;

const KINDS = ['json', 'jsonObject', 'regex', 'choice', 'grammar', 'structuralTag'] as const;
const FLAGS = ['disableAnyWhitespace', 'disableAdditionalProperties'] as const;
/** Fields of vLLM's that this engine does not do. */
const REFUSED = ['whitespacePattern'];
const PARAM = 'structured_outputs';

/** Throws InvalidRequestError with `param` structured_outputs, or the field in it. null stays null. */
export function checkStructuredOutputs(value: unknown): GrammarSpec | null {
  if (value === null) return null;
  if (typeof value !== 'object' || Array.isArray(value)) fail('', `must be an object, got ${show(value)}`);
  const given = readFields(value as object);
  const kinds = KINDS.filter(kind => given.has(kind));
  if (kinds.length !== 1) {
    const found = kinds.length === 0 ? 'none' : kinds.map(toSnakeCase).join(' and ');
    fail('', `must have exactly one of ${KINDS.map(toSnakeCase).join(', ')}, got ${found}`);
  }
  for (const name of FLAGS) {
    const flag = given.get(name);
    if (flag !== undefined && typeof flag !== 'boolean')
      fail(toSnakeCase(name), `must be true or false, got ${show(flag)}`);
  }
  const kind = kinds[0]!;
  const source = readers[kind](given.get(kind));
  if (source.length > MAX_GRAMMAR_LENGTH) {
    fail(toSnakeCase(kind), `has ${source.length} characters, at most ${MAX_GRAMMAR_LENGTH} are allowed`);
  }
  if (source.includes('\0')) fail(toSnakeCase(kind), 'must not contain the character U+0000');
  const anyWhitespace = given.get('disableAnyWhitespace') !== true;
  const strict = given.get('disableAdditionalProperties') !== false;
  return { kind, source, anyWhitespace, strict, key: JSON.stringify([kind, anyWhitespace, strict, source]) };
}

/** Throws InvalidRequestError about `structured_outputs`, or about a place in it, such as `json.properties.age`. */
export function fail(place: string, problem: string): never {
  const field = place === '' ? PARAM : `${PARAM}.${place}`;
  throw new InvalidRequestError(`${field} ${problem}.`, PARAM);
}

function readFields(value: object): Map<string, unknown> {
  const known: readonly string[] = [...KINDS, ...FLAGS];
  const given = new Map<string, unknown>();
  for (const [spelled, field] of Object.entries(value)) {
    if (field === null || field === undefined) continue;
    const name = toCamelCase(spelled);
    if (REFUSED.includes(name)) fail(toSnakeCase(name), 'is not supported by this engine');
    if (!known.includes(name)) {
      const hint = suggestion(spelled, known.map(toSnakeCase));
      throw new InvalidRequestError(`${PARAM} has an unknown field "${show(spelled).slice(1, -1)}".${hint}`, PARAM);
    }
    if (given.has(name)) fail(toSnakeCase(name), 'is given twice');
    given.set(name, field);
  }
  return given;
}

/** The text of a constraint, by kind. */
const readers: Readonly<Record<GrammarSpec['kind'], (value: unknown) => string>> = {
  json: readSchema,
  jsonObject: value => (value === true ? '' : fail('json_object', `must be true, got ${show(value)}`)),
  regex: value => readText('regex', value),
  choice: readChoice,
  grammar: value => readText('grammar', value),
  structuralTag: readTag,
};

function readText(name: string, value: unknown): string {
  if (typeof value !== 'string') return fail(toSnakeCase(name), `must be a string, got ${show(value)}`);
  return value === '' ? fail(toSnakeCase(name), 'cannot be an empty string') : value;
}

function readSchema(value: unknown): string {
  if (typeof value === 'string') return readText('json', value);
  if (typeof value === 'boolean' || (typeof value === 'object' && !Array.isArray(value)))
    return stringify(value, 'json');
  return fail('json', `must be a JSON schema, got ${show(value)}`);
}

function readTag(value: unknown): string {
  if (typeof value === 'string') return readText('structuralTag', value);
  if (typeof value === 'object' && !Array.isArray(value)) return stringify(value, 'structural_tag');
  return fail('structural_tag', `must be an object, got ${show(value)}`);
}

/** Deep values end JSON.stringify with a RangeError, cyclic ones with a TypeError. */
function stringify(value: unknown, place: string): string {
  try {
    return JSON.stringify(value);
  } catch (error) {
    return fail(place, `cannot be written as JSON: ${(error as Error).message.split('\n')[0]}`);
  }
}

function readChoice(value: unknown): string {
  if (!Array.isArray(value) || value.length === 0) {
    return fail('choice', `must be a list of at least one string, got ${show(value)}`);
  }
  if (value.length > MAX_CHOICES)
    return fail('choice', `has ${value.length} entries, at most ${MAX_CHOICES} are allowed`);
  for (const entry of value) readText('choice', entry);
  return JSON.stringify(value);
}
