import { literal, plainChars, writeRegex } from './ebnf.ts';
import { spellOutClasses } from './ebnf-classes.ts';
import { GrammarRules } from './grammar-rules.ts';
import { parseRegex, whole } from './regex-syntax.ts';
import { schemaGrammar } from './schema-grammar.ts';
import { structuralTagGrammar } from './structural-tag.ts';
import type { GrammarSpec } from './structured-outputs.ts';

/**
 * A constraint as a grammar in EBNF whose first rule is `root`. Throws InvalidRequestError when it cannot be kept to.
 * chainLimit: the longest count that is written out, for quick masks; every part of it takes the library time to compile.
 */
export function toGrammar({ kind, source, anyWhitespace, strict }: GrammarSpec, chainLimit: number): string {
  const rules = new GrammarRules(anyWhitespace, chainLimit);
  switch (kind) {
    case 'json':
      return schemaGrammar(source, rules, strict);
    case 'jsonObject':
      return schemaGrammar('{"type":"object"}', rules, strict);
    case 'regex':
      return rules.text(writeRegex(whole(parseRegex(source, 'regex')), plainChars, 'regex', rules));
    case 'choice':
      return `root ::= ${(JSON.parse(source) as string[]).map(literal).join(' | ')}`;
    case 'grammar':
      return spellOutClasses(source);
    case 'structuralTag':
      return structuralTagGrammar(source, rules, strict);
  }
}
