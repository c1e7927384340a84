import { ModelFormatError } from '../errors.ts';
import type { JsonFields } from './json-fields.ts';
import { compilePattern } from './pre-tokenizer.ts';

const MAX_PATTERN_LENGTH = 8192;
/** Repeats above this count as unbounded: backtracking over them is as bad. */
const MANY = 32;

/** Reads `pattern` of a Split or Replace and compiles it. Throws TOKENIZER_REGEX with the pattern's text for what cannot be run safely. */
export function readPattern(fields: JsonFields): RegExp {
  const pattern = fields.object('pattern');
  if (pattern.has('String')) return compilePattern({ String: pattern.string('String') });
  const source = pattern.string('Regex');
  if (source.length > MAX_PATTERN_LENGTH)
    throw regexError(pattern, source, `it is longer than ${MAX_PATTERN_LENGTH} characters`);
  const compiled = compileOrRefuse(pattern, source);
  if (hasAmbiguousRepeat(compiled.source))
    throw regexError(pattern, source, 'it nests one unbounded repeat in another, or repeats alternatives');
  return compiled;
}

function compileOrRefuse(pattern: JsonFields, source: string): RegExp {
  try {
    return compilePattern({ Regex: source });
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError)
      throw regexError(pattern, source, 'JavaScript has no equal for it');
    throw error;
  }
}

function regexError(pattern: JsonFields, source: string, reason: string): ModelFormatError {
  return new ModelFormatError('TOKENIZER_REGEX', `this regular expression is refused: ${reason}`, {
    file: pattern.file,
    field: pattern.pathOf('Regex'),
    found: JSON.stringify(source.length > 200 ? `${source.slice(0, 200)}...` : source),
    advice: 'Some patterns take exponential time on some texts, so they are not run.',
  });
}

interface Group {
  /** Something in it repeats without bound, or it has alternatives: there may be many ways to match one text. */
  varies: boolean;
  /** A look-around: once it has matched it is not entered again, so what varies inside does not multiply. */
  isAtomic: boolean;
}

/**
 * Whether an unbounded repeat applies to a group that can match one text in several ways, such as (a+)+ or (a|a)*: the form of
 * all patterns that backtrack exponentially. Some harmless patterns have it too; no known tokenizer uses one. `source` is a valid
 * JavaScript regular expression.
 */
export function hasAmbiguousRepeat(source: string): boolean {
  const open: Group[] = [{ varies: false, isAtomic: false }];
  let closed: Group | null = null;
  for (let i = 0; i < source.length; i++) {
    const multiplies = closed?.varies === true && !closed.isAtomic;
    if (multiplies && repeatAt(source, i)?.isUnbounded === true) return true;
    if (multiplies) open.at(-1)!.varies = true;
    closed = null;
    const char = source[i];
    if (char === '\\') i++;
    else if (char === '[') i = endOfClass(source, i);
    else if (char === '(') open.push({ varies: false, isAtomic: /^\(\?<?[=!]/.test(source.slice(i, i + 4)) });
    else if (char === ')') closed = open.pop()!;
    else if (char === '|' || repeatAt(source, i)?.isUnbounded === true) open.at(-1)!.varies = true;
  }
  return false;
}

function repeatAt(source: string, at: number): { isUnbounded: boolean } | null {
  if (source[at] === '*' || source[at] === '+') return { isUnbounded: true };
  const counts = /^\{(\d+)(,?)(\d*)\}/.exec(source.slice(at, at + 24));
  if (counts === null) return null;
  const most = counts[2] === '' ? counts[1] : counts[3];
  return { isUnbounded: most === '' || Number(most) > MANY };
}

function endOfClass(source: string, start: number): number {
  let i = start + 1;
  while (i < source.length && source[i] !== ']') i += source[i] === '\\' ? 2 : 1;
  return i;
}
