import { literal, plainChars, writeRegex } from './ebnf.ts';
import { spellOutClasses } from './ebnf-classes.ts';
import { parseRegex, whole } from './regex-syntax.ts';
import { schemaGrammar } from './schema-grammar.ts';
import type { GrammarSpec } from './structured-outputs.ts';

/** A constraint as a grammar in EBNF whose first rule is `root`. Throws InvalidRequestError when it cannot be kept to. */
export function toGrammar({ kind, source, anyWhitespace, strict }: GrammarSpec): string {
  switch (kind) {
    case 'json':
      return schemaGrammar(source, anyWhitespace, strict);
    case 'jsonObject':
      return schemaGrammar('{"type":"object"}', anyWhitespace, strict);
    case 'regex':
      return `root ::= ${writeRegex(whole(parseRegex(source, 'regex')), plainChars, 'regex')}`;
    case 'choice':
      return `root ::= ${(JSON.parse(source) as string[]).map(literal).join(' | ')}`;
    case 'grammar':
      return spellOutClasses(source);
  }
}
