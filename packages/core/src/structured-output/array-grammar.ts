import { show } from '../names.ts';
import { repetition } from './ebnf.ts';
import type { GrammarRules } from './grammar-rules.ts';
import type { Compile } from './object-grammar.ts';
import { failAt, readCounts, type Schema } from './schema-nodes.ts';

/** Lists: items with schemas of their own, then others of one schema, within bounds of their number. */
export function arrayGrammar(schema: Schema, path: string, rules: GrammarRules, compile: Compile): string {
  if (schema.uniqueItems !== undefined && schema.uniqueItems !== false)
    failAt(`${path}.uniqueItems`, 'is not supported');
  const [min, max] = readCounts(schema, 'minItems', 'maxItems', path);
  const { first, rest } = itemSchemas(schema, path);
  const items = first.map((item, i) => compile(item, `${path}.prefixItems[${i}]`));
  const more = rest === false || (max !== null && max <= items.length) ? null : compile(rest, `${path}.items`);
  if (more === null && min > items.length)
    failAt(path, `accepts nothing: ${min} items, of which ${items.length} may be there`);
  const fixed = max === null ? items : items.slice(0, max);
  return `"[" ${rules.space} ${itemList(fixed, more, min, max, rules)} "]"`;
}

/** draft 2020-12's prefixItems and items, or the list of items and additionalItems of older drafts. */
function itemSchemas(schema: Schema, path: string): { first: unknown[]; rest: unknown } {
  const { items = true, prefixItems, additionalItems = true } = schema;
  if (Array.isArray(items)) return { first: items, rest: additionalItems };
  if (prefixItems === undefined) return { first: [], rest: items };
  if (!Array.isArray(prefixItems)) return failAt(`${path}.prefixItems`, `must be a list, got ${show(prefixItems)}`);
  return { first: prefixItems, rest: items };
}

/** Items from the i-th on, built from the end; commas stand only between. */
function itemList(
  items: readonly string[],
  more: string | null,
  min: number,
  max: number | null,
  rules: GrammarRules,
): string {
  const { comma, space } = rules;
  const [least, most] = [Math.max(0, min - items.length), max === null ? null : max - items.length];
  let next = more === null ? '""' : rules.add(`(${comma} ${more})${repetition(least, most)}`);
  if (items.length === 0) {
    if (more === null) return '""';
    const again = rules.add(`(${comma} ${more})${repetition(Math.max(0, least - 1), most === null ? null : most - 1)}`);
    return rules.add(`${more} ${again} ${space}${min === 0 ? ' | ""' : ''}`);
  }
  for (let i = items.length - 1; i > 0; i--) {
    next = rules.add(`${comma} ${items[i]} ${next}${i >= min ? ' | ""' : ''}`);
  }
  return rules.add(`${items[0]} ${next} ${space}${min === 0 ? ' | ""' : ''}`);
}
