import { show } from '../names.ts';
import { jsonChars, writeRegex } from './ebnf.ts';
import { countedString, type GrammarRules } from './grammar-rules.ts';
import { parseRegex, searched, whole } from './regex-syntax.ts';
import { failAt, readCounts, type Schema } from './schema-nodes.ts';
import { stringFormats } from './string-formats.ts';

/** Strings in quotes: of a length, or of a pattern, or of a format. */
export function stringGrammar(schema: Schema, path: string, rules: GrammarRules): string {
  const [min, max] = readCounts(schema, 'minLength', 'maxLength', path);
  const { pattern, format } = schema;
  if (pattern === undefined && format === undefined) {
    return min === 0 && max === null ? rules.shared('string') : countedString(rules, min, max);
  }
  if (min > 0 || max !== null) failAt(path, 'has a length beside a pattern or format, which is not supported');
  if (pattern !== undefined && format !== undefined)
    failAt(path, 'has both a pattern and a format, which is not supported');
  if (pattern === undefined) return `"\\"" ${formatGrammar(format, path, rules)} "\\""`;
  if (typeof pattern !== 'string') return failAt(`${path}.pattern`, `must be a string, got ${show(pattern)}`);
  const field = `${path}.pattern`;
  return `"\\"" ${writeRegex(searched(parseRegex(pattern, field)), jsonChars, field, rules)} "\\""`;
}

function formatGrammar(format: unknown, path: string, rules: GrammarRules): string {
  const field = `${path}.format`;
  const known = typeof format === 'string' && Object.hasOwn(stringFormats, format) ? stringFormats[format]! : null;
  if (known === null) {
    return failAt(field, `${show(format)} is not supported; known are ${Object.keys(stringFormats).join(', ')}`);
  }
  return writeRegex(whole(parseRegex(known, field)), jsonChars, field, rules);
}
