import { type ModelFormatDetails, ModelFormatError } from '../errors.ts';
import { quote } from './json-scan.ts';
import { rebuild, signatures, storageOf } from './pickle-torch.ts';
import {
  allowedGlobals,
  PickleDict,
  PickleFloat,
  PickleList,
  PickleTuple,
  type PickleValue,
  resolveGlobal,
  showValue,
} from './pickle-values.ts';

const MAX_STACK = 100_000;
const MAX_OBJECTS = 400_000;
const MAX_MARKS = 1000;
const MAX_STRING_BYTES = 4096;

/** Opcodes that torch.save writes (protocol 2), by their byte. Any other byte is refused. */
const opcodes: Readonly<Record<number, keyof Opcodes>> = {
  125: 'emptyDict', // }
  93: 'emptyList', // ]
  41: 'emptyTuple', // )
  40: 'mark', // (
  116: 'tuple', // t
  133: 'tuple1',
  134: 'tuple2',
  135: 'tuple3',
  78: 'none', // N
  136: 'newTrue',
  137: 'newFalse',
  75: 'binInt1', // K
  77: 'binInt2', // M
  74: 'binInt', // J
  138: 'long1',
  71: 'binFloat', // G
  88: 'binUnicode', // X
  113: 'binPut', // q
  114: 'longBinPut', // r
  104: 'binGet', // h
  106: 'longBinGet', // j
  99: 'global', // c
  81: 'binPersId', // Q
  82: 'reduce', // R
  98: 'build', // b
  115: 'setItem', // s
  117: 'setItems', // u
  97: 'append', // a
  101: 'appends', // e
};
type Opcodes = Omit<PickleMachine, 'run'>;

/**
 * Reads the pickle of a torch.save archive. It is a reader, not an unpickler: it builds dictionaries, lists, tuples, numbers,
 * strings, storages and tensors, knows the names that stand for them, and calls nothing. Any other opcode or name is refused
 * with its offset, and every stack, table and string has a bound.
 * @returns the value that the pickle ends with.
 * @throws ModelFormatError PK_OPCODE, PK_GLOBAL, PK_PICKLE, PK_LIMIT.
 */
export function readPickle(bytes: Uint8Array, file: string): PickleValue {
  return new PickleMachine(bytes, file).run();
}

class PickleMachine {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #file: string;
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  readonly #stack: PickleValue[] = [];
  /** Heights of the stack at the open marks. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, PickleValue>();
  #at = 0;
  #opStart = 0;
  #objects = 0;

  constructor(bytes: Uint8Array, file: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#file = file;
  }

  run(): PickleValue {
    if (this.#bytes.length < 2 || this.#bytes[0] !== 0x80)
      throw this.#bad('PK_PICKLE', 'this is not a pickle', { expected: 'the opcode PROTO' });
    if (this.#bytes[1] !== 2) {
      throw this.#bad('PK_OPCODE', 'the pickle protocol is not supported', {
        found: `protocol ${this.#bytes[1]}`,
        expected: 'protocol 2, the default of torch.save',
        advice: resave,
      });
    }
    this.#at = 2;
    for (;;) {
      this.#opStart = this.#at;
      const code = this.#bytes[this.#take(1)]!;
      if (code === 0x2e) return this.#stop();
      const op = opcodes[code];
      if (op === undefined) {
        throw this.#bad('PK_OPCODE', 'the pickle holds an opcode that no state dictionary needs, and could run code', {
          found: `opcode 0x${code.toString(16).padStart(2, '0')}`,
          advice: suspicious,
        });
      }
      this[op]();
    }
  }

  #stop(): PickleValue {
    const value = this.#pop();
    if (this.#stack.length > 0 || this.#marks.length > 0 || this.#at !== this.#bytes.length) {
      throw this.#bad('PK_PICKLE', 'something is left over at the end of the pickle', {
        expected: 'one value, then the end',
      });
    }
    return value;
  }

  // ------------------------------------------------------------------------------------------------------ plain values

  none(): void {
    this.#push(null);
  }
  newTrue(): void {
    this.#push(true);
  }
  newFalse(): void {
    this.#push(false);
  }
  binInt1(): void {
    this.#push(this.#bytes[this.#take(1)]!);
  }
  binInt2(): void {
    this.#push(this.#view.getUint16(this.#take(2), true));
  }
  binInt(): void {
    this.#push(this.#view.getInt32(this.#take(4), true));
  }
  /** A little-endian integer of up to 8 bytes; larger ones than 2^53 - 1 mean nothing in a checkpoint. */
  long1(): void {
    const length = this.#bytes[this.#take(1)]!;
    const start = this.#take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[start + i]!);
    const signed = BigInt.asIntN(8 * length, value);
    const number = Number(signed);
    if (!Number.isSafeInteger(number))
      throw this.#bad('PK_LIMIT', 'an integer is too large', {
        found: `${length} bytes`,
        expected: 'at most 2^53 - 1',
      });
    this.#push(number);
  }
  binFloat(): void {
    this.#push(this.#created(new PickleFloat(this.#view.getFloat64(this.#take(8), false))));
  }
  binUnicode(): void {
    const length = this.#view.getUint32(this.#take(4), true);
    if (length > MAX_STRING_BYTES)
      throw this.#bad('PK_LIMIT', 'a string is too long', {
        found: `${length} bytes`,
        expected: `at most ${MAX_STRING_BYTES}`,
      });
    const start = this.#take(length);
    this.#push(this.#created(this.#decode(start, start + length)));
  }

  // -------------------------------------------------------------------------------------------------------- containers

  emptyDict(): void {
    this.#push(this.#created(new PickleDict()));
  }
  emptyList(): void {
    this.#push(this.#created(new PickleList()));
  }
  emptyTuple(): void {
    this.#pushTuple([]);
  }
  mark(): void {
    if (this.#marks.length === MAX_MARKS)
      throw this.#bad('PK_LIMIT', 'the pickle is nested too deeply', { expected: `at most ${MAX_MARKS} open marks` });
    this.#marks.push(this.#stack.length);
  }
  tuple(): void {
    this.#pushTuple(this.#popToMark());
  }
  tuple1(): void {
    this.#pushTuple(this.#popMany(1));
  }
  tuple2(): void {
    this.#pushTuple(this.#popMany(2));
  }
  tuple3(): void {
    this.#pushTuple(this.#popMany(3));
  }
  append(): void {
    const items = this.#popMany(1);
    this.#topList().items.push(...items);
  }
  appends(): void {
    const items = this.#popToMark();
    const list = this.#topList();
    for (const item of items) list.items.push(item);
  }
  setItem(): void {
    this.#setItems(this.#popMany(2));
  }
  setItems(): void {
    this.#setItems(this.#popToMark());
  }

  // -------------------------------------------------------------------------------------------------------------- memo

  binPut(): void {
    this.#put(this.#bytes[this.#take(1)]!);
  }
  longBinPut(): void {
    this.#put(this.#view.getUint32(this.#take(4), true));
  }
  binGet(): void {
    this.#get(this.#bytes[this.#take(1)]!);
  }
  longBinGet(): void {
    this.#get(this.#view.getUint32(this.#take(4), true));
  }

  // ------------------------------------------------------------------------------------------------- names and tensors

  /** Two lines: module and name. */
  global(): void {
    const module = this.#line();
    const name = this.#line();
    const value = resolveGlobal(module, name);
    if (value === null) {
      const storage = module === 'torch' && name.endsWith('Storage');
      throw this.#bad(
        storage ? 'PK_DTYPE' : 'PK_GLOBAL',
        storage
          ? 'this element type is not supported'
          : 'the pickle asks for a name that is not allowed, and could run code',
        {
          found: quote(`${module}.${name}`),
          expected: `one of ${allowedGlobals()}`,
          advice: storage ? resave : suspicious,
        },
      );
    }
    this.#push(value);
  }

  /** ('storage', type, key, device, elements): the device does not matter here. */
  binPersId(): void {
    const id = this.#pop();
    const storage = storageOf(id);
    if (storage === null) {
      throw this.#bad('PK_PICKLE', 'a storage is described wrongly', {
        found: showValue(id),
        expected: "('storage', type, key, device, elements)",
      });
    }
    this.#push(this.#created(storage));
  }

  reduce(): void {
    const args = this.#pop();
    const callee = this.#pop();
    if (
      typeof callee !== 'object' ||
      callee === null ||
      !('kind' in callee) ||
      callee.kind !== 'function' ||
      !(args instanceof PickleTuple)
    ) {
      throw this.#bad('PK_PICKLE', 'the pickle calls something that is no function', {
        found: showValue(callee),
        advice: suspicious,
      });
    }
    const value = rebuild(callee.name, args.items);
    if (value === null) {
      throw this.#bad('PK_PICKLE', 'a function has wrong arguments', {
        found: `(${args.items.slice(0, 8).map(showValue).join(', ')})`,
        expected: signatures[callee.name],
      });
    }
    this.#push(this.#created(value));
  }

  /** Attributes of an OrderedDict (`_metadata`) are of no use here. */
  build(): void {
    const state = this.#pop();
    const target = this.#stack.at(-1);
    if (target instanceof PickleDict && state instanceof PickleDict) return;
    throw this.#bad('PK_PICKLE', 'the pickle sets attributes of something that has none', {
      found: `${showValue(target)} with ${showValue(state)}`,
      expected: 'an OrderedDict',
    });
  }

  // ------------------------------------------------------------------------------------------------------------- parts

  #take(count: number): number {
    const start = this.#at;
    if (start + count > this.#bytes.length)
      throw this.#bad('PK_PICKLE', 'the pickle ends early', {
        found: `${this.#bytes.length} bytes`,
        expected: `at least ${start + count}`,
      });
    this.#at = start + count;
    return start;
  }
  #push(value: PickleValue): void {
    if (this.#stack.length === MAX_STACK)
      throw this.#bad('PK_LIMIT', 'the pickle is too large', { expected: `at most ${MAX_STACK} values on its stack` });
    this.#stack.push(value);
  }
  #created<T extends PickleValue>(value: T): T {
    if (++this.#objects > MAX_OBJECTS)
      throw this.#bad('PK_LIMIT', 'the pickle is too large', { expected: `at most ${MAX_OBJECTS} objects` });
    return value;
  }
  #pushTuple(items: readonly PickleValue[]): void {
    this.#push(this.#created(new PickleTuple(items)));
  }
  #pop(): PickleValue {
    return this.#popMany(1)[0]!;
  }
  #popMany(count: number): PickleValue[] {
    if (this.#stack.length - count < (this.#marks.at(-1) ?? 0))
      throw this.#bad('PK_PICKLE', 'the pickle takes more values than it put down', {});
    return this.#stack.splice(this.#stack.length - count, count);
  }
  #popToMark(): PickleValue[] {
    const height = this.#marks.pop();
    if (height === undefined) throw this.#bad('PK_PICKLE', 'the pickle closes a mark that it did not open', {});
    return this.#stack.splice(height);
  }
  #topList(): PickleList {
    const list = this.#stack.at(-1);
    if (list instanceof PickleList) return list;
    throw this.#bad('PK_PICKLE', 'the pickle appends to something that is no list', { found: showValue(list) });
  }
  #setItems(items: readonly PickleValue[]): void {
    const dict = this.#stack.at(-1);
    if (!(dict instanceof PickleDict) || items.length % 2 !== 0)
      throw this.#bad('PK_PICKLE', 'the pickle sets items of something that is no dictionary', {
        found: showValue(dict),
      });
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i]!;
      if (typeof key !== 'string')
        throw this.#bad('PK_PICKLE', 'a key of a dictionary is no string', { found: showValue(key) });
      if (dict.items.has(key))
        throw this.#bad('PK_PICKLE', 'a key of a dictionary is set twice', { found: quote(key) });
      dict.items.set(key, items[i + 1]!);
    }
  }
  #put(index: number): void {
    const value = this.#stack.at(-1);
    if (value === undefined) throw this.#bad('PK_PICKLE', 'the pickle remembers nothing', {});
    if (this.#memo.size === MAX_OBJECTS)
      throw this.#bad('PK_LIMIT', 'the pickle is too large', { expected: `at most ${MAX_OBJECTS} remembered values` });
    this.#memo.set(index, value);
  }
  #get(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined)
      throw this.#bad('PK_PICKLE', 'the pickle recalls what it never remembered', { found: `index ${index}` });
    this.#push(value);
  }
  #line(): string {
    const start = this.#at;
    const end = this.#bytes.indexOf(0x0a, start);
    if (end < 0 || end - start > MAX_STRING_BYTES) throw this.#bad('PK_PICKLE', 'a name does not end', {});
    this.#at = end + 1;
    return this.#decode(start, end);
  }
  #decode(start: number, end: number): string {
    try {
      return this.#decoder.decode(this.#bytes.subarray(start, end));
    } catch {
      throw this.#bad('PK_PICKLE', 'a string is not UTF-8', {});
    }
  }
  #bad(code: string, summary: string, details: Omit<ModelFormatDetails, 'file' | 'offset'>): ModelFormatError {
    return new ModelFormatError(code, summary, { file: this.#file, offset: this.#opStart, ...details });
  }
}

const resave =
  "Load the checkpoint in PyTorch and save its state_dict with torch.save's defaults, best as safetensors.";
const suspicious =
  'Nothing was run. If the file comes from a source that you trust, load it in PyTorch and save its state_dict as safetensors.';
