import { InvalidRequestError } from '../errors.ts';
import type { AdapterWeights } from '../models/index.ts';
import { show } from '../names.ts';
import type { ModelSource } from '../weights/types.ts';

/** An adapter to load: under which name requests ask for it, and its folder, or an open source (which stays the caller's). */
export interface LoraRequest {
  readonly loraName: string;
  readonly loraPath: string | ModelSource;
}

/** An adapter that requests may ask for. Loaded again, it is another one. */
export interface Adapter {
  /** Unique in the engine, for all its life. */
  readonly id: number;
  readonly name: string;
  readonly weights: AdapterWeights;
}

/** Brings an adapter into host memory. */
export type LoadAdapter = (location: LoraRequest['loraPath']) => Promise<AdapterWeights>;

/** The longest name of an adapter: longer than any folder's. */
const MAX_NAME = 256;

/** Throws InvalidRequestError for what cannot be the name of an adapter. */
export function checkAdapterName(name: unknown): asserts name is string {
  if (typeof name === 'string' && name.length > 0 && name.length <= MAX_NAME) return;
  throw new InvalidRequestError(`lora_name must have 1 to ${MAX_NAME} characters, got ${show(name)}.`, 'lora_name');
}

/**
 * The adapters of an engine by name, in host memory. One that is removed is kept by the requests that began with it, until the last
 * of them ends.
 */
export class AdapterRegistry {
  readonly #load: LoadAdapter | null;
  readonly #most: number;
  readonly #byName = new Map<string, Adapter>();
  /** Names of those that are being loaded. */
  readonly #coming = new Set<string>();
  #lastId = 0;

  /** `load`: null where the engine takes none. `most`: adapters that may be loaded at once; null: no bound. */
  constructor(load: LoadAdapter | null, most: number | null) {
    this.#load = load;
    this.#most = most ?? Number.POSITIVE_INFINITY;
  }

  get names(): string[] {
    return [...this.#byName.keys()];
  }

  /**
   * Loads an adapter that requests may ask for. Rejects with InvalidRequestError when the name is taken or the engine takes no more,
   * and with ModelFormatError when it does not fit the model.
   */
  async load({ loraName: name, loraPath }: LoraRequest): Promise<void> {
    if (this.#load === null) {
      throw new InvalidRequestError('This engine takes no adapters. Start it with enableLora.', 'lora_name');
    }
    this.#checkRoom(name);
    this.#coming.add(name);
    try {
      const weights = await this.#load(loraPath);
      this.#byName.set(name, { id: ++this.#lastId, name, weights });
    } finally {
      this.#coming.delete(name);
    }
  }

  /** Requests that began with it go on; no other one may. Throws InvalidRequestError when there is none of this name. */
  remove(name: string): void {
    this.get(name);
    this.#byName.delete(name);
  }

  /** Throws InvalidRequestError when there is none of this name. */
  get(name: string): Adapter {
    const adapter = this.#byName.get(name);
    if (adapter !== undefined) return adapter;
    const known = this.names.slice(0, 8).map(show).join(', ') || 'none';
    const message = `There is no adapter ${show(name)}. Loaded: ${known}.`;
    throw new InvalidRequestError(message, 'lora_name', 'model_not_found');
  }

  #checkRoom(name: string): void {
    checkAdapterName(name);
    if (this.#byName.has(name) || this.#coming.has(name)) {
      throw new InvalidRequestError(`The adapter ${show(name)} is loaded already. Unload it first.`, 'lora_name');
    }
    const count = this.#byName.size + this.#coming.size;
    if (count < this.#most) return;
    throw new InvalidRequestError(
      `${count} adapters are loaded, all that maxCpuLoras allows. Unload one.`,
      'lora_name',
    );
  }
}

/** Names of the adapters that requests ask for, each once. */
export function adapterNames(requests: Iterable<{ readonly adapter: Adapter | null }>): string[] {
  const names = new Set<string>();
  for (const { adapter } of requests) if (adapter !== null) names.add(adapter.name);
  return [...names];
}

/**
 * What stands for the empty prefix in the prefix cache: prompts under different salts or adapters share no blocks. The id ends at the
 * first NUL, so that no salt can pass for an adapter.
 */
export function cacheRoot(adapter: Adapter | null, salt: string): string {
  return adapter === null && salt === '' ? '' : `${adapter?.id ?? ''}\u0000${salt}`;
}
