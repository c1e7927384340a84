import { type StructuredOutputs, toCamelCase } from '@quire/core';
import type { Constraint } from '../structured-fields.ts';
import type { ReasoningStart, ReasoningSyntax } from './reasoning-parser.ts';

/** Constraints as requests write them: nothing in them has been checked. */
type Kinds = { readonly [K in keyof StructuredOutputs]?: unknown };

function camelCased(value: StructuredOutputs): Kinds {
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [toCamelCase(name), field]));
}

/** What a constraint's text is as a part of a structural tag, and its place there; null: it cannot be one. */
function asFormat(value: Kinds): { format: unknown; engines: string; part: string } | null {
  const { json, jsonObject, regex, choice, structuralTag } = value;
  if (typeof json === 'object' || typeof json === 'boolean') {
    return { format: { type: 'json_schema', json_schema: json }, engines: 'json', part: '.json_schema' };
  }
  if (jsonObject === true) {
    return { format: { type: 'json_schema', json_schema: { type: 'object' } }, engines: 'json_object', part: '' };
  }
  if (typeof regex === 'string')
    return { format: { type: 'regex', pattern: regex }, engines: 'regex', part: '.pattern' };
  if (Array.isArray(choice) && choice.length > 0) {
    const elements = choice.map((value: unknown) => ({ type: 'const_string', value }));
    return { format: { type: 'or', elements }, engines: 'choice', part: '.elements' };
  }
  const { format } = (typeof structuralTag === 'object' ? (structuralTag ?? {}) : {}) as { format?: unknown };
  return format === undefined ? null : { format, engines: 'structural_tag.format', part: '' };
}

/**
 * The same constraint for the text behind a reasoning, which is free. A grammar stays as it is: it must hold for the whole text.
 * Places keep the words of the request.
 */
export function constraintBehind(given: Constraint, syntax: ReasoningSyntax, start: ReasoningStart): Constraint {
  const kinds = camelCased(given.value);
  const inner = start === 'after' ? null : asFormat(kinds);
  if (inner === null) return given;
  // Where reasoning is implied, its marker is a part of the free text if it comes.
  const isOpen = start === 'inside' || syntax.isImplied;
  const begin = isOpen ? '' : syntax.begin;
  const thoughts = { type: 'tag', begin, content: { type: 'any_text' }, end: syntax.end };
  const nothing = { type: 'const_string', value: '' };
  const mayThink = isOpen ? thoughts : { type: 'or', elements: [thoughts, nothing] };
  const space = { type: 'regex', pattern: '\\n{0,2}' };
  const structuralTag = {
    type: 'structural_tag',
    format: { type: 'sequence', elements: [mayThink, space, inner.format] },
  };
  const { disableAnyWhitespace, disableAdditionalProperties } = kinds;
  const flags = {
    ...(disableAnyWhitespace === undefined ? {} : { disableAnyWhitespace }),
    ...(disableAdditionalProperties === undefined ? {} : { disableAdditionalProperties }),
  } as StructuredOutputs;
  const from = `structured_outputs.${inner.engines}`;
  const to = `structured_outputs.structural_tag.format.elements[2]${inner.part}`;
  const moved = given.renamed
    .filter(({ engines }) => engines.startsWith(from))
    .map(place => ({ ...place, engines: to + place.engines.slice(from.length) }));
  return { ...given, value: { structuralTag, ...flags }, renamed: [...moved, ...given.renamed] };
}
