import {
  anyInteger,
  anyNumber,
  integersBetween,
  type NumberRange,
  numbersBetween,
  plainNumber,
} from './number-grammar.ts';
import { failAt, readNumber, type Schema } from './schema-nodes.ts';

/** Numbers of a grammar lie between: a bound beyond it bounds nothing. */
const LIMIT = 1e15;

/** Integers or numbers within the bounds of a schema. */
export function numberGrammar(kind: 'integer' | 'number', schema: Schema, path: string): string {
  const step = readNumber(schema, 'multipleOf', path);
  if (step !== null && !(step === 1 && kind === 'integer')) failAt(`${path}.multipleOf`, 'is not supported');
  const range = withinLimit(readRange(schema, path), path);
  if (range.min === null && range.max === null) return unbounded(kind, schema);
  if (kind === 'number' && ![range.min, range.max].every(bound => bound === null || Number.isInteger(bound))) {
    failAt(path, 'has a bound that is no integer, which is not supported for numbers');
  }
  const text = kind === 'number' ? numbersBetween(range) : integersBetween(...integerBounds(range));
  return text ?? failAt(path, 'accepts nothing: the bounds exclude each other');
}

/** Only a number with an exponent goes beyond the limit. */
function unbounded(kind: 'integer' | 'number', schema: Schema): string {
  if (kind === 'integer') return anyInteger;
  const hasBounds = ['minimum', 'exclusiveMinimum', 'maximum', 'exclusiveMaximum'].some(
    name => schema[name] !== undefined,
  );
  return hasBounds ? plainNumber : anyNumber;
}

function readRange(schema: Schema, path: string): NumberRange {
  const [minimum, exclusiveMinimum] = [
    readNumber(schema, 'minimum', path),
    readNumber(schema, 'exclusiveMinimum', path),
  ];
  const [maximum, exclusiveMaximum] = [
    readNumber(schema, 'maximum', path),
    readNumber(schema, 'exclusiveMaximum', path),
  ];
  const minIsExcluded = exclusiveMinimum !== null && (minimum === null || exclusiveMinimum >= minimum);
  const maxIsExcluded = exclusiveMaximum !== null && (maximum === null || exclusiveMaximum <= maximum);
  return {
    min: minIsExcluded ? exclusiveMinimum : minimum,
    max: maxIsExcluded ? exclusiveMaximum : maximum,
    minIsExcluded,
    maxIsExcluded,
  };
}

function withinLimit(range: NumberRange, path: string): NumberRange {
  const min = range.min !== null && range.min <= -LIMIT ? null : range.min;
  const max = range.max !== null && range.max >= LIMIT ? null : range.max;
  if ((min ?? 0) >= LIMIT || (max ?? 0) <= -LIMIT)
    failAt(path, 'accepts only numbers beyond 10^15, which are not supported');
  return { ...range, min, max };
}

function integerBounds({ min, max, minIsExcluded, maxIsExcluded }: NumberRange): [number | null, number | null] {
  return [
    min === null ? null : minIsExcluded ? Math.floor(min) + 1 : Math.ceil(min),
    max === null ? null : maxIsExcluded ? Math.ceil(max) - 1 : Math.floor(max),
  ];
}
