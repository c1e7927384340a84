import { show } from '../names.ts';
import { type GrammarRules, jsonLiteral, otherString } from './grammar-rules.ts';
import { failAt, isObject, type Schema } from './schema-nodes.ts';

/** Makes a rule of a subschema. */
export type Compile = (schema: unknown, path: string) => string;

interface Member {
  /** `"name": value` */
  text: string;
  isRequired: boolean;
}

/**
 * Objects have their properties in the order of the schema, and then others, where they are allowed. Without `strict`, or with no
 * properties at all, others are allowed unless the schema says no.
 */
export function objectGrammar(
  schema: Schema,
  path: string,
  strict: boolean,
  rules: GrammarRules,
  compile: Compile,
): string {
  const properties = readProperties(schema, path);
  const required = readRequired(schema, path);
  const additional = schema.additionalProperties ?? !(strict && schema.properties !== undefined);
  const names = [...Object.keys(properties), ...required.filter(name => !Object.hasOwn(properties, name))];
  const members = names.map((name): Member => {
    const own = Object.hasOwn(properties, name);
    if (!own && additional === false) {
      failAt(`${path}.required`, `names the property ${show(name)}, which the schema does not allow`);
    }
    const where = own ? `${path}.properties.${name}` : `${path}.additionalProperties`;
    const value = compile(own ? properties[name] : additional, where);
    return { text: `${jsonLiteral(name)} ${rules.colon} ${value}`, isRequired: required.includes(name) };
  });
  const more = additional === false ? null : otherMember(additional, names, path, rules, compile);
  return `"{" ${rules.space} ${memberList(members, more, rules)} "}"`;
}

function readProperties(schema: Schema, path: string): Schema {
  const properties = schema.properties ?? {};
  return isObject(properties) ? properties : failAt(`${path}.properties`, `must be an object, got ${show(properties)}`);
}

function readRequired(schema: Schema, path: string): string[] {
  const required = schema.required ?? [];
  const isList = Array.isArray(required) && required.every(name => typeof name === 'string');
  return isList ? [...new Set(required)] : failAt(`${path}.required`, `must be a list of names, got ${show(required)}`);
}

function otherMember(
  schema: unknown,
  names: readonly string[],
  path: string,
  rules: GrammarRules,
  compile: Compile,
): string {
  const value = compile(schema, `${path}.additionalProperties`);
  const key = names.length === 0 ? rules.shared('string') : otherString(rules, names);
  return rules.add(`${key} ${rules.colon} ${value}`);
}

/** The members from the i-th on: `first` where none came before, so that commas stand only between. Built from the end. */
function memberList(members: readonly Member[], more: string | null, rules: GrammarRules): string {
  let next = more === null ? '""' : rules.add(`(${rules.comma} ${more})*`);
  let first = more === null ? '""' : rules.add(`${more} (${rules.comma} ${more})* ${rules.space} | ""`);
  for (const { text, isRequired } of members.toReversed()) {
    const begin = `${text} ${next === '""' ? '' : next} ${rules.space}`;
    const begun = `${rules.comma} ${text} ${next === '""' ? '' : next}`;
    first = rules.add(isRequired ? begin : `${begin} | ${first}`);
    next = rules.add(isRequired ? begun : `${begun} | ${next}`);
  }
  return first;
}
