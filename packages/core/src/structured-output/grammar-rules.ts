import { charSet, charsOf, complement } from './char-set.ts';
import { chain, charRule, choiceOf, jsonChars, literal, plainChars, type RuleMaker } from './ebnf.ts';
import { anyNumber } from './number-grammar.ts';

/** Characters of a grammar's text at most: more takes the library too long. */
const MAX_TEXT = 1 << 19;
/** Rules at most, those included that turn out to be there already: a bound on the work of making them. */
const MAX_RULES = 1 << 13;

const control = charSet([[0, 0x1f]]);
/** Spellings of one character of a JSON string. */
const stringChars: readonly string[] = [
  ...plainChars(complement(charSet([...control, ...charsOf('"\\')]))),
  `"\\\\" ${plainChars(charsOf('"\\/bfnrt'))[0]}`,
  '"\\\\u00" [01] [0-9a-f]',
];

/** The rules of a grammar of JSON texts, by name. */
export class GrammarRules implements RuleMaker {
  readonly chainLimit: number;
  /** White space between tokens, and after commas and colons. */
  readonly space: string;
  readonly comma: string;
  readonly colon: string;
  readonly #rules = new Map<string, string>();
  /** Names of rules that were added, by their texts. */
  readonly #names = new Map<string, string>();
  #length = 0;
  #made = 0;

  /** Bounded white space: a model that likes spaces must come to an end. */
  constructor(anyWhitespace: boolean, chainLimit: number) {
    this.chainLimit = chainLimit;
    this.space = anyWhitespace ? 'space' : '""';
    this.comma = anyWhitespace ? 'space "," space' : '", "';
    this.colon = anyWhitespace ? 'space ":" space' : '": "';
    if (anyWhitespace) this.#rules.set('space', '"" | " " | "\\n" [ \\t]{0,20}');
  }

  get isTooLong(): boolean {
    return this.#length > MAX_TEXT || this.#made > MAX_RULES;
  }

  /** Takes the name of a rule whose text is `set` later: for rules that refer to themselves. */
  reserve(): string {
    const name = `r${this.#rules.size}`;
    this.#rules.set(name, '');
    return name;
  }

  set(name: string, text: string): string {
    this.#rules.set(name, text);
    this.#length += text.length;
    return name;
  }

  /** Rules of one text are one rule: tools are alike, and the library takes its time for each rule. */
  add(text: string): string {
    const known = this.#names.get(text);
    this.#made++;
    if (known !== undefined) return known;
    const name = this.set(this.reserve(), text);
    this.#names.set(text, name);
    return name;
  }

  /** A rule that all grammars share, made on first use. */
  shared(name: keyof typeof sharedRules): string {
    if (this.#rules.has(name)) return name;
    this.#rules.set(name, '');
    return this.set(name, sharedRules[name](this));
  }

  text(root: string): string {
    const rules = [...this.#rules].map(([name, text]) => `${name} ::= ${text}`);
    return [`root ::= ${root}`, ...rules].join('\n');
  }
}

const sharedRules = {
  /** What is left of a string, its closing quote included. */
  rest: () => ['"\\""', ...stringChars.map(char => `${char} rest`)].join(' | '),
  string: (rules: GrammarRules) => `"\\"" ${rules.shared('rest')}`,
  value: (rules: GrammarRules) =>
    ['object', 'array', 'string'].map(name => rules.shared(name as 'object')).join(' | ') +
    ` | ${anyNumber} | "true" | "false" | "null"`,
  array: (rules: GrammarRules) => {
    const value = rules.shared('value');
    return `"[" ${rules.space} (${value} (${rules.comma} ${value})* ${rules.space})? "]"`;
  },
  object: (rules: GrammarRules) => {
    const member = `${rules.shared('string')} ${rules.colon} ${rules.shared('value')}`;
    return `"{" ${rules.space} (${member} (${rules.comma} ${member})* ${rules.space})? "}"`;
  },
};

/** A string in quotes of at least `min` and at most `max` characters. */
export function countedString(rules: GrammarRules, min: number, max: number | null): string {
  const chars = (max ?? min) > rules.chainLimit ? [charRule(stringChars, rules)] : stringChars;
  let rest = max === null ? rules.shared('rest') : chain(chars, '"\\""', max - min, rules);
  for (let i = 0; i < min; i++) rest = rules.add(chars.map(char => `${char} ${rest}`).join(' | '));
  return `"\\"" ${rest}`;
}

/** A string in quotes that is none of the names: a trie of their characters, left at each node by another one. */
export function otherString(rules: GrammarRules, names: readonly string[]): string {
  const node = (rest: readonly (readonly string[])[]): string => {
    const heads = [...new Set(rest.filter(chars => chars.length > 0).map(chars => chars[0]!))];
    const others = complement(charsOf(heads.join('')));
    const options = heads.map(
      head =>
        `${jsonChars(charsOf(head))[0]} ${node(rest.filter(chars => chars[0] === head).map(chars => chars.slice(1)))}`,
    );
    options.push(...jsonChars(others).map(char => `${char} ${rules.shared('rest')}`));
    if (!rest.some(chars => chars.length === 0)) options.push('"\\""');
    return rules.add(choiceOf(options));
  };
  return `"\\"" ${node(names.map(name => Array.from(name)))}`;
}

export function jsonLiteral(value: unknown): string {
  return literal(JSON.stringify(value));
}
