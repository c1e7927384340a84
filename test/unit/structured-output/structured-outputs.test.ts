import { InvalidRequestError } from '@quire/core';
import { describe, expect, test } from 'vitest';
import {
  checkStructuredOutputs,
  MAX_GRAMMAR_LENGTH,
} from '../../../packages/core/src/structured-output/structured-outputs.ts';

function refusal(value: unknown): string {
  try {
    checkStructuredOutputs(value);
  } catch (error) {
    if (!(error instanceof InvalidRequestError)) throw error;
    expect(error.param).toBe('structured_outputs');
    return error.message;
  }
  throw new Error(`${JSON.stringify(value)} was accepted`);
}

const cyclic: Record<string, unknown> = {};
cyclic.self = cyclic;

const bad: [string, unknown, RegExp][] = [
  ['not an object', 'json', /^structured_outputs must be an object, got "json"\.$/],
  ['a list', [], /must be an object/],
  ['nothing', {}, /exactly one of json, json_object, regex, choice, grammar, structural_tag, got none\.$/],
  ['two kinds', { json: {}, regex: 'a' }, /got json and regex\.$/],
  ['an unknown field', { jsn: {} }, /unknown field "jsn". Did you mean "json"\?$/],
  ['one field twice', { jsonObject: true, json_object: true }, /^structured_outputs.json_object is given twice\.$/],
  [
    'a structural tag that is a number',
    { structural_tag: 5 },
    /^structured_outputs.structural_tag must be an object, got 5/,
  ],
  ['a pattern of white space', { json: {}, whitespace_pattern: ' ' }, /whitespace_pattern is not supported/],
  ['json_object: false', { json_object: false }, /^structured_outputs.json_object must be true, got false\.$/],
  ['a schema that is a number', { json: 5 }, /^structured_outputs.json must be a JSON schema, got 5\.$/],
  ['a schema without text', { json: '' }, /^structured_outputs.json cannot be an empty string\.$/],
  ['a cyclic schema', { json: cyclic }, /^structured_outputs.json cannot be written as JSON/],
  ['an empty pattern', { regex: '' }, /^structured_outputs.regex cannot be an empty string\.$/],
  ['a pattern with NUL', { regex: 'a\0' }, /^structured_outputs.regex must not contain the character U\+0000\.$/],
  ['no choices', { choice: [] }, /^structured_outputs.choice must be a list of at least one string/],
  ['an empty choice', { choice: ['a', ''] }, /^structured_outputs.choice cannot be an empty string\.$/],
  ['choices that are numbers', { choice: [1] }, /^structured_outputs.choice must be a string, got 1\.$/],
  ['too many choices', { choice: Array(1025).fill('a') }, /has 1025 entries, at most 1024/],
  ['an empty grammar', { grammar: '' }, /^structured_outputs.grammar cannot be an empty string\.$/],
  ['too long a pattern', { regex: 'a'.repeat(MAX_GRAMMAR_LENGTH + 1) }, /has 65537 characters, at most 65536/],
  ['a flag that is none', { json: {}, disable_any_whitespace: 1 }, /disable_any_whitespace must be true or false/],
];

describe('structured outputs', () => {
  test.each(bad)('%s', (_, value, message) => {
    expect(refusal(value)).toMatch(message);
  });

  test('null is none', () => {
    expect(checkStructuredOutputs(null)).toBe(null);
  });

  test('both spellings, and text or values of a schema, mean the same', () => {
    const spec = checkStructuredOutputs({ json: { type: 'string' }, disableAnyWhitespace: true });
    expect(checkStructuredOutputs({ json: '{"type":"string"}', disable_any_whitespace: true, regex: null })).toEqual(
      spec,
    );
    expect(spec).toMatchObject({ kind: 'json', source: '{"type":"string"}', anyWhitespace: false, strict: true });
    expect(checkStructuredOutputs({ json: { type: 'string' } })!.key).not.toBe(spec!.key);
    expect(checkStructuredOutputs({ jsonObject: true })).toMatchObject({ kind: 'jsonObject', source: '' });
  });
});
