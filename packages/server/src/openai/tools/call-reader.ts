import { JsonScanner } from './json-scanner.ts';

/** Code units of a call before its name and the beginning of its arguments are known. */
const MAX_HEAD = 65_536;
/** Code units of a name, of the call or of a member. */
const MAX_NAME = 1024;

/**
 * Reads one call as it is generated: a JSON object with a `name` and with `arguments` or `parameters`, which must be an object.
 * Members may come in any order, others are passed over. Each code unit is looked at once.
 */
export class CallReader {
  /** `broken`: what was read last belongs to no call. */
  status: 'open' | 'whole' | 'broken' = 'open';
  readonly #names: ReadonlySet<string> | null;
  readonly #json = new JsonScanner();
  #name: string | null = null;
  /** Name of the member that is being read. */
  #member: 'name' | 'arguments' | 'other' = 'other';
  #hasArguments = false;
  /** The string that is being read, with its quotes, where it is a name. */
  #string: string[] | null = null;
  #gained: string[] = [];
  #length = 0;

  /** names: calls of others are no calls; null: any name will do. */
  constructor(names: ReadonlySet<string> | null) {
    this.#names = names;
  }

  /** The name, once it is known that this is a call. */
  get name(): string | null {
    return this.#hasArguments || this.status === 'whole' ? this.#name : null;
  }

  /** What the arguments gained since this was last called, as the model wrote it. */
  takeArguments(): string {
    const text = this.#gained.join('');
    this.#gained = [];
    return text;
  }

  /** Reads on from `start`. The index behind what was read: of the end of the text, of the call, or of what breaks it. */
  read(text: string, start: number): number {
    let end = start;
    while (end < text.length && this.status === 'open') end = this.#part(text, end);
    return end;
  }

  /** One stretch of the same kind: arguments, a name, or a single code unit. */
  #part(text: string, start: number): number {
    const end = this.#inArguments ? this.#argumentsPart(text, start) : this.#step(text, start);
    this.#length += end - start;
    if (this.name === null && this.#length > MAX_HEAD) this.status = 'broken';
    return end;
  }

  get #inArguments(): boolean {
    return this.#member === 'arguments' && this.#hasArguments && this.#json.depth > 1;
  }

  #argumentsPart(text: string, start: number): number {
    const json = this.#json;
    let end = start;
    while (end < text.length && json.depth > 1) {
      if (!json.step(text.charCodeAt(end))) {
        this.status = 'broken';
        break;
      }
      end++;
    }
    this.#gained.push(text.slice(start, end));
    return end;
  }

  /** One code unit outside of the arguments. */
  #step(text: string, at: number): number {
    const json = this.#json;
    const { depth, inString } = json;
    const code = text.charCodeAt(at);
    // The object itself begins the text.
    if ((depth === 0 && code !== 0x7b) || !json.step(code)) return this.#break(at);
    if (json.inString || inString) {
      if (!this.#readString(text[at]!, inString)) return this.#break(at);
    } else if (depth === 1 && json.depth === 2) {
      if (this.#member === 'name' || (this.#member === 'arguments' && !this.#beginArguments(code)))
        return this.#break(at);
    } else if (depth === 1 && json.depth === 1 && this.#isScalar(code)) {
      return this.#break(at);
    }
    if (json.isWhole) this.#end();
    return this.status === 'broken' ? at : at + 1;
  }

  #break(at: number): number {
    this.status = 'broken';
    return at;
  }

  /** A number or a word where a name or an object must be. */
  #isScalar(code: number): boolean {
    const isStructure = code <= 0x20 || code === 0x2c || code === 0x3a;
    if (!isStructure) return this.#member !== 'other';
    if (code === 0x2c) this.#member = 'other';
    return false;
  }

  #beginArguments(code: number): boolean {
    if (code !== 0x7b || this.#hasArguments) return false;
    this.#hasArguments = true;
    this.#gained.push('{');
    return true;
  }

  /** Keeps the strings at the top of the call. */
  #readString(char: string, wasInside: boolean): boolean {
    const json = this.#json;
    if (json.depth !== 1) return true;
    if (!wasInside) {
      if (!json.isKey && this.#member === 'arguments') return false;
      this.#string = json.isKey || this.#member === 'name' ? [char] : null;
      return true;
    }
    this.#string?.push(char);
    if (json.inString || this.#string === null) return (this.#string?.length ?? 0) <= MAX_NAME;
    const value = JSON.parse(this.#string.join('')) as string;
    this.#string = null;
    return json.isKey ? this.#beginMember(value) : this.#setName(value);
  }

  #beginMember(key: string): boolean {
    if (key === 'name') this.#member = 'name';
    else if (key === 'arguments' || key === 'parameters') this.#member = 'arguments';
    else this.#member = 'other';
    // A second one would have to take back what was told of the first.
    const isSecond =
      (this.#member === 'name' && this.#name !== null) || (this.#member === 'arguments' && this.#hasArguments);
    return !isSecond;
  }

  #setName(name: string): boolean {
    if (name === '' || this.#names?.has(name) === false) return false;
    this.#name = name;
    return true;
  }

  #end(): void {
    this.status = this.#name === null ? 'broken' : 'whole';
    if (this.status === 'whole' && !this.#hasArguments) this.#gained.push('{}');
  }
}
