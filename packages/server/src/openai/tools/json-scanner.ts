/** Objects and lists within each other; what is nested deeper is refused. */
export const MAX_DEPTH = 128;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;

const words: ReadonlyMap<number, string> = new Map(['true', 'false', 'null'].map(word => [word.charCodeAt(0), word]));
const escapes: ReadonlySet<number> = new Set(Array.from('"\\/bfnrt', char => char.charCodeAt(0)));

/** What may come next. */
type State =
  | 'value'
  | 'valueOrEnd'
  | 'key'
  | 'keyOrEnd'
  | 'colon'
  | 'next'
  | 'string'
  | 'escape'
  | 'hex'
  | 'word'
  | 'minus'
  | 'zero'
  | 'integer'
  | 'point'
  | 'fraction'
  | 'exponent'
  | 'sign'
  | 'power'
  | 'whole';

/**
 * Checks a JSON text (RFC 8259) one UTF-16 code unit at a time, each in constant time. It remembers nothing but which brackets are
 * open, so memory does not grow with the text.
 */
export class JsonScanner {
  #state: State = 'value';
  /** 1 where an object is open, 0 where a list is. */
  readonly #open = new Uint8Array(MAX_DEPTH);
  #depth = 0;
  #isKey = false;
  #word = '';
  #at = 0;

  /** Objects and lists that are open. */
  get depth(): number {
    return this.#depth;
  }

  /** Within a string, or just behind its opening quote. */
  get inString(): boolean {
    return this.#state === 'string' || this.#state === 'escape' || this.#state === 'hex';
  }

  /** The string that was last begun is the name of a member. */
  get isKey(): boolean {
    return this.#isKey;
  }

  /** The text is a whole object or list: nothing but white space may follow. */
  get isWhole(): boolean {
    return this.#state === 'whole';
  }

  /** Takes one code unit. false: no JSON text goes on like this; the scanner is of no use then. */
  step(code: number): boolean {
    switch (this.#state) {
      case 'string':
        return this.#stepString(code);
      case 'escape':
        return this.#stepEscape(code);
      case 'hex':
        return isHex(code) && this.#count(4, 'string');
      case 'word':
        return code === this.#word.charCodeAt(this.#at) && this.#count(this.#word.length, 'next');
      case 'value':
      case 'valueOrEnd':
      case 'key':
      case 'keyOrEnd':
      case 'colon':
      case 'next':
      case 'whole':
        return isSpace(code) || this.#stepStructure(code);
      default:
        return this.#stepNumber(code);
    }
  }

  #stepStructure(code: number): boolean {
    switch (this.#state) {
      case 'value':
        return this.#begin(code);
      case 'valueOrEnd':
        return code === CLOSE_LIST ? this.#close(code) : this.#begin(code);
      case 'key':
        return code === QUOTE && this.#beginString(true);
      case 'keyOrEnd':
        return code === CLOSE_OBJECT ? this.#close(code) : code === QUOTE && this.#beginString(true);
      case 'colon':
        return code === COLON && this.#go('value');
      case 'next':
        if (code !== COMMA) return this.#close(code);
        return this.#go(this.#inObject ? 'key' : 'value');
      default:
        return false;
    }
  }

  #begin(code: number): boolean {
    if (code === QUOTE) return this.#beginString(false);
    if (code === OPEN_OBJECT || code === OPEN_LIST) return this.#push(code === OPEN_OBJECT);
    if (this.#depth === 0) return false;
    if (code === MINUS) return this.#go('minus');
    if (isDigit(code)) return this.#go(code === ZERO ? 'zero' : 'integer');
    this.#word = words.get(code) ?? '';
    this.#at = 1;
    return this.#word !== '' && this.#go('word');
  }

  #beginString(isKey: boolean): boolean {
    this.#isKey = isKey;
    return this.#depth > 0 && this.#go('string');
  }

  #push(isObject: boolean): boolean {
    if (this.#depth === MAX_DEPTH) return false;
    this.#open[this.#depth++] = isObject ? 1 : 0;
    return this.#go(isObject ? 'keyOrEnd' : 'valueOrEnd');
  }

  #close(code: number): boolean {
    if (code !== (this.#inObject ? CLOSE_OBJECT : CLOSE_LIST)) return false;
    this.#depth--;
    return this.#go(this.#depth === 0 ? 'whole' : 'next');
  }

  #stepString(code: number): boolean {
    if (code === BACKSLASH) return this.#go('escape');
    if (code === QUOTE) return this.#go(this.#isKey ? 'colon' : 'next');
    return code >= 0x20;
  }

  #stepEscape(code: number): boolean {
    this.#at = 0;
    return code === 0x75 ? this.#go('hex') : escapes.has(code) && this.#go('string');
  }

  #stepNumber(code: number): boolean {
    const next = afterInNumber(this.#state, code);
    if (next !== null) return this.#go(next);
    const isNumber = this.#state !== 'minus' && !['point', 'exponent', 'sign'].includes(this.#state);
    return isNumber && this.#go('next') && this.step(code);
  }

  get #inObject(): boolean {
    return this.#open[this.#depth - 1] === 1;
  }

  /** One more of `length` code units; the state after the last. */
  #count(length: number, after: State): boolean {
    if (++this.#at === length) this.#state = after;
    return true;
  }

  #go(state: State): true {
    this.#state = state;
    return true;
  }
}

/** The state within a number, or null where it does not go on with this code unit. */
function afterInNumber(state: State, code: number): State | null {
  if (isDigit(code)) return afterDigit(state, code);
  if (code === POINT) return state === 'zero' || state === 'integer' ? 'point' : null;
  if (code === 0x65 || code === 0x45) return ['zero', 'integer', 'fraction'].includes(state) ? 'exponent' : null;
  return (code === MINUS || code === 0x2b) && state === 'exponent' ? 'sign' : null;
}

function afterDigit(state: State, code: number): State | null {
  switch (state) {
    case 'minus':
      return code === ZERO ? 'zero' : 'integer';
    case 'integer':
      return 'integer';
    case 'point':
    case 'fraction':
      return 'fraction';
    case 'zero':
      return null;
    default:
      return 'power';
  }
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function isHex(code: number): boolean {
  return isDigit(code) || (code >= 0x41 && code <= 0x46) || (code >= 0x61 && code <= 0x66);
}

/** White space of JSON. */
export function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}
