import type { Marks } from './marks.ts';
import {
  type ArrayValue,
  isArray,
  isMapping,
  isNamespace,
  isString,
  type MappingValue,
  makeString,
  type RuntimeValue,
  withContents,
} from './runtime.ts';

/** A value without marks, and whether it had any. */
export interface Stripped {
  readonly value: RuntimeValue;
  readonly wasMarked: boolean;
}

/** `string`: the value itself if it is a string; `items`: also the strings of a list; `deep`: all strings in it. */
export type StripLevel = 'string' | 'items' | 'deep';

/** Puts marks on template values and takes them off. Values that need no change are returned as they are. */
export class Provenance {
  readonly marks: Marks;

  constructor(marks: Marks) {
    this.marks = marks;
  }

  strip(value: RuntimeValue, level: StripLevel): Stripped {
    let wasMarked = false;
    const stripString = (text: string): string => {
      if (!this.marks.has(text)) return text;
      wasMarked = true;
      return this.marks.strip(text);
    };
    const depth = level === 'string' ? 0 : level === 'items' ? 1 : Number.POSITIVE_INFINITY;
    return { value: mapStrings(value, { text: stripString, key: stripString }, depth), wasMarked };
  }

  /** Marks every string of a value that was made of marked text. */
  markResult(value: RuntimeValue): RuntimeValue {
    const change = {
      text: (text: string) => this.marks.markResult(text),
      key: (key: string) => this.marks.markKey(key),
    };
    return mapStrings(value, change, Number.POSITIVE_INFINITY);
  }
}

/** What becomes of strings, and of the keys of mappings. */
interface Change {
  text(text: string): string;
  key(key: string): string;
}

function mapStrings(value: RuntimeValue, change: Change, depth: number): RuntimeValue {
  if (isString(value)) {
    const text = change.text(value.value);
    return text === value.value ? value : makeString(text);
  }
  if (depth === 0) return value;
  if (isArray(value)) return mapArray(value, change, depth);
  return isMapping(value) && depth > 1 ? mapMapping(value, change, depth) : value;
}

function mapArray(value: ArrayValue, change: Change, depth: number): RuntimeValue {
  const items = value.value.map(item => mapStrings(item, change, depth - 1));
  return items.some((item, i) => item !== value.value[i]) ? withContents(value, items) : value;
}

function mapMapping(value: MappingValue, change: Change, depth: number): RuntimeValue {
  const keyOf = isNamespace(value) ? (key: string) => key : change.key;
  const entries = [...value.value].map(([key, item]) => [keyOf(key), mapStrings(item, change, depth - 1)] as const);
  return entries.some(([key, item]) => item !== value.value.get(key)) ? withContents(value, new Map(entries)) : value;
}
