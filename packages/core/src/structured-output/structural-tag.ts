import { show } from '../names.ts';
import { charsOf, complement } from './char-set.ts';
import { choiceOf, literal, plainChars, type RuleMaker, writeRegex } from './ebnf.ts';
import type { GrammarRules } from './grammar-rules.ts';
import { parseRegex, whole } from './regex-syntax.ts';
import { compileSchema } from './schema-grammar.ts';
import { failAt, isObject, parseJson, type Schema } from './schema-nodes.ts';

/** Formats within formats, and formats in all. */
const MAX_DEPTH = 16;
const MAX_FORMATS = 1024;
/** Characters of what ends an any_text: each takes a rule. */
const MAX_END = 64;

/**
 * A grammar of a structural tag: texts put together of literal text and of JSON, in the notation of XGrammar and vLLM. Of its
 * formats these are known: const_string, json_schema, regex, any_text, sequence, or, tag, tags_with_separator. Throws
 * InvalidRequestError that names the place in the tag.
 */
export function structuralTagGrammar(source: string, rules: GrammarRules, strict: boolean): string {
  const place = 'structural_tag';
  const tag = parseJson(source, place);
  if (!isObject(tag) || tag.type !== place) return failAt(place, `must be an object of type "${place}"`);
  return rules.text(new TagCompiler(rules, strict).compile(tag.format, `${place}.format`, 0));
}

class TagCompiler {
  readonly #rules: GrammarRules;
  readonly #strict: boolean;
  #count = 0;

  constructor(rules: GrammarRules, strict: boolean) {
    this.#rules = rules;
    this.#strict = strict;
  }

  /** The name of a rule. */
  compile(format: unknown, path: string, depth: number): string {
    if (!isObject(format)) return failAt(path, `must be a format, got ${show(format)}`);
    if (depth > MAX_DEPTH) failAt(path, `is nested more than ${MAX_DEPTH} deep`);
    if (++this.#count > MAX_FORMATS) failAt(path, `is one of more than ${MAX_FORMATS} formats`);
    if (this.#rules.isTooLong) failAt(path, 'makes the grammar too long');
    return this.#rules.add(this.#body(format, path, depth));
  }

  #body(format: Schema, path: string, depth: number): string {
    const parts = (field: string) => this.#list(format, field, path, depth);
    switch (format.type) {
      case 'const_string':
        return literal(text(format, 'value', path));
      case 'json_schema':
        return compileSchema(format.json_schema, `${path}.json_schema`, this.#rules, this.#strict);
      case 'regex':
        return writeRegex(
          whole(parseRegex(text(format, 'pattern', path), `${path}.pattern`)),
          plainChars,
          `${path}.pattern`,
          this.#rules,
        );
      case 'any_text':
        return anyText(this.#rules);
      case 'sequence':
        return parts('elements').join(' ');
      case 'or':
        return parts('elements').join(' | ');
      case 'tag':
        return this.#tag(format, path, depth);
      case 'tags_with_separator':
        return this.#tags(parts('tags'), format, path);
      default:
        return failAt(`${path}.type`, `${show(format.type)} is not supported`);
    }
  }

  #list(format: Schema, field: string, path: string, depth: number): string[] {
    const entries = format[field];
    if (!Array.isArray(entries) || entries.length === 0) {
      return failAt(`${path}.${field}`, `must be a list of at least one format, got ${show(entries)}`);
    }
    return entries.map((entry, i) => this.compile(entry, `${path}.${field}[${i}]`, depth + 1));
  }

  #tag(format: Schema, path: string, depth: number): string {
    const begin = literal(text(format, 'begin', path));
    const end = text(format, 'end', path);
    const { content } = format;
    if (isObject(content) && content.type === 'any_text' && end !== '') {
      if (end.length > MAX_END) failAt(`${path}.end`, `has more than ${MAX_END} characters behind an any_text`);
      return `${begin} ${textUntil(end, this.#rules)}`;
    }
    return `${begin} ${this.compile(content, `${path}.content`, depth + 1)} ${literal(end)}`;
  }

  #tags(tags: readonly string[], format: Schema, path: string): string {
    const one = choiceOf(tags);
    const separator = literal(text(format, 'separator', path));
    const some = isSet(format, 'stop_after_first', path) ? one : `${one} (${separator} ${one})*`;
    return isSet(format, 'at_least_one', path) ? some : `(${some}) | ""`;
  }
}

function text(format: Schema, field: string, path: string): string {
  const value = format[field];
  if (typeof value === 'string' && !value.includes('\0')) return value;
  return failAt(`${path}.${field}`, `must be a string without the character U+0000, got ${show(value)}`);
}

function isSet(format: Schema, field: string, path: string): boolean {
  const value = format[field] ?? false;
  return typeof value === 'boolean' ? value : failAt(`${path}.${field}`, `must be true or false, got ${show(value)}`);
}

function anyText(rules: RuleMaker): string {
  const rest = rules.reserve();
  return rules.set(rest, ['""', ...plainChars(complement([])).map(char => `${char} ${rest}`)].join(' | '));
}

/** Any text up to the first `end`, with it: one rule for each number of characters of `end` that stand there already. */
function textUntil(end: string, rules: RuleMaker): string {
  const chars = Array.from(end);
  const states = chars.map(() => rules.reserve());
  states.push(rules.add('""'));
  const others = plainChars(complement(charsOf(end)));
  chars.forEach((_, matched) => {
    const known = [...new Set(chars)].map(
      char => `${literal(char)} ${states[overlap([...chars.slice(0, matched), char], chars)]}`,
    );
    rules.set(states[matched]!, [...known, ...others.map(char => `${char} ${states[0]}`)].join(' | '));
  });
  return states[0]!;
}

/** The most characters at the end of one text with which the other begins. */
function overlap(seen: readonly string[], wanted: readonly string[]): number {
  let length = Math.min(seen.length, wanted.length);
  while (seen.slice(seen.length - length).some((char, i) => char !== wanted[i])) length--;
  return length;
}
