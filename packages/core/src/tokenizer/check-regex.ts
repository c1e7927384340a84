import { ModelFormatError } from '../errors.ts';
import type { JsonFields } from './json-fields.ts';
import { compilePattern } from './pre-tokenizer.ts';

const MAX_PATTERN_LENGTH = 8192;
/** Repeats above this count as unbounded: backtracking over them is as bad. */
const MANY = 32;
/** Unbounded repeats in one alternative; published patterns have two. */
const MAX_REPEATS = 8;

/** Reads `pattern` of a Split or Replace and compiles it. Throws TOKENIZER_REGEX with the pattern's text for what cannot be run safely. */
export function readPattern(fields: JsonFields): RegExp {
  const pattern = fields.object('pattern');
  if (pattern.has('String')) return compilePattern({ String: pattern.string('String') });
  const source = pattern.string('Regex');
  if (source.length > MAX_PATTERN_LENGTH)
    throw regexError(pattern, source, `it is longer than ${MAX_PATTERN_LENGTH} characters`);
  const compiled = compileOrRefuse(pattern, source);
  if (hasAmbiguousRepeat(compiled.source))
    throw regexError(
      pattern,
      source,
      'it nests one unbounded repeat in another, repeats alternatives, or has many repeats',
    );
  if (isSlow(compiled)) throw regexError(pattern, source, 'it takes quadratic time or worse');
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
    advice: 'A pattern that takes long on some text would stop the server, so it is not run.',
  });
}

interface Group {
  /** Something in it repeats without bound, or it has alternatives: there may be many ways to match one text. */
  varies: boolean;
  /** A look-around: once it has matched it is not entered again, so what varies inside does not multiply. */
  isAtomic: boolean;
  /** Unbounded repeats in the alternative that is being read, and in the longest so far. */
  repeats: number;
  most: number;
}

function openGroup(isAtomic: boolean): Group {
  return { varies: false, isAtomic, repeats: 0, most: 0 };
}

function addRepeats(group: Group, count: number): void {
  group.repeats += count;
  group.most = Math.max(group.most, group.repeats);
}

/**
 * Whether an unbounded repeat applies to a group that can match one text in several ways, such as (a+)+ or (a|a)*: the form of
 * all patterns that backtrack exponentially. Some harmless patterns have it too; no known tokenizer uses one. Also whether one
 * alternative has very many repeats. `source` is a valid JavaScript regular expression.
 */
export function hasAmbiguousRepeat(source: string): boolean {
  const open: Group[] = [openGroup(false)];
  let closed: Group | null = null;
  for (let i = 0; i < source.length; i++) {
    const group = open.at(-1)!;
    const isRepeat = repeatAt(source, i)?.isUnbounded === true;
    const multiplies = closed?.varies === true && !closed.isAtomic;
    if (multiplies && isRepeat) return true;
    if (multiplies || isRepeat) group.varies = true;
    if (isRepeat) addRepeats(group, 1);
    closed = null;
    const char = source[i];
    if (char === '\\') i++;
    else if (char === '[') i = endOfClass(source, i);
    else if (char === '(') open.push(openGroup(/^\(\?<?[=!]/.test(source.slice(i, i + 4))));
    else if (char === '|') Object.assign(group, { varies: true, repeats: 0 });
    else if (char === ')') {
      closed = open.pop()!;
      addRepeats(open.at(-1)!, closed.most);
    }
  }
  return open[0]!.most > MAX_REPEATS;
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

const probeCharacters = ['a', 'A', ' ', '\n', '7', '!', '\u6f22', "'", '\u0301'];
const PROBE_LENGTHS = [16, 128, 1024, 16_384];
/** At the longest a linear pattern takes about one, a quadratic one well over a hundred. */
const MAX_PROBE_MILLISECONDS = 40;

/** Runs the pattern on one character again and again, of kinds that patterns tell apart, in growing lengths. */
function isSlow(pattern: RegExp): boolean {
  const own = pattern.source.match(/[!-~]/g) ?? [];
  const characters = new Set([...probeCharacters, ...own.slice(0, 64)]);
  for (const character of characters) {
    for (const length of PROBE_LENGTHS) {
      if (millisecondsFor(pattern, character.repeat(length)) > MAX_PROBE_MILLISECONDS) return true;
    }
  }
  return false;
}

/** The least of three tries, so that a busy machine condemns no pattern; one try where there is no doubt. */
function millisecondsFor(pattern: RegExp, text: string): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 3 && least > MAX_PROBE_MILLISECONDS; i++) {
    const start = Date.now();
    text.replace(pattern, '');
    least = Math.min(least, Date.now() - start);
    if (least > 6 * MAX_PROBE_MILLISECONDS) break;
  }
  return least;
}
