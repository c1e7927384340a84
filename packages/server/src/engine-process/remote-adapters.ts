import { checkAdapterName, type FrontRequest, InvalidRequestError, type LoraRequest } from '@quire/core';

/** An adapter as engines are told of it: under a name of its own, so that one that is loaded again is another one. */
interface RemoteAdapter {
  readonly key: string;
  readonly name: string;
  readonly path: string;
}

/** Calls an engine. */
type Call = (method: 'addLora' | 'removeLora', options: { loraName: string; loraPath?: string }) => Promise<void>;

/**
 * The adapters that clients may ask for, and those that were removed while requests still use them: another engine gets all of them
 * before it gets the requests.
 */
export class RemoteAdapters {
  readonly #call: Call;
  readonly #byName = new Map<string, RemoteAdapter>();
  readonly #coming = new Set<string>();
  /** Of those that engines still have. */
  #removed: RemoteAdapter[] = [];
  #count = 0;

  constructor(call: Call) {
    this.#call = call;
  }

  get names(): string[] {
    return [...this.#byName.keys()];
  }

  /** Names of the adapters that requests use, each once. */
  namesOf(requests: readonly FrontRequest[]): string[] {
    const used = new Set(requests.map(({ adapter }) => adapter));
    const all = [...this.#byName.values(), ...this.#removed];
    return [...new Set(all.flatMap(({ key, name }) => (used.has(key) ? [name] : [])))];
  }

  /** Under which name engines have an adapter. Throws InvalidRequestError when there is none. */
  keyOf(name: string): string {
    const adapter = this.#byName.get(name);
    if (adapter !== undefined) return adapter.key;
    throw new InvalidRequestError(`There is no adapter ${JSON.stringify(name)}.`, 'lora_name', 'model_not_found');
  }

  /** Rejects as AsyncLLM.addLora does. */
  async add({ loraName: name, loraPath: path }: LoraRequest, unfinished: readonly FrontRequest[]): Promise<void> {
    checkAdapterName(name);
    if (typeof path !== 'string') {
      throw new InvalidRequestError(
        'The engine runs in a process of its own: give the folder of the adapter.',
        'lora_path',
      );
    }
    if (this.#byName.has(name) || this.#coming.has(name)) {
      throw new InvalidRequestError(
        `The adapter ${JSON.stringify(name)} is loaded already. Unload it first.`,
        'lora_name',
      );
    }
    this.#coming.add(name);
    try {
      await this.sweep(unfinished);
      const adapter = { key: String(++this.#count), name, path };
      await this.#call('addLora', { loraName: adapter.key, loraPath: path });
      this.#byName.set(name, adapter);
    } finally {
      this.#coming.delete(name);
    }
  }

  /** From now on nobody may ask for it. */
  async remove(name: string, unfinished: readonly FrontRequest[]): Promise<void> {
    this.keyOf(name);
    this.#removed.push(this.#byName.get(name)!);
    this.#byName.delete(name);
    await this.sweep(unfinished);
  }

  /** Has the engine forget what was removed and no request uses any more. */
  async sweep(unfinished: readonly FrontRequest[]): Promise<void> {
    if (this.#removed.length === 0) return;
    const used = new Set(unfinished.map(({ adapter }) => adapter));
    const unused = this.#removed.filter(({ key }) => !used.has(key));
    this.#removed = this.#removed.filter(({ key }) => used.has(key));
    // An engine that has ended has forgotten them, and the next one is not told of them.
    await Promise.allSettled(unused.map(({ key }) => this.#call('removeLora', { loraName: key })));
  }

  /** Tells a new engine of all that it needs. One that cannot be loaded any more is missed by its requests alone, and not offered. */
  async restore(onLost: (name: string, error: unknown) => void): Promise<void> {
    for (const adapter of [...this.#byName.values(), ...this.#removed]) {
      const { key, name, path } = adapter;
      if (!this.#isWanted(adapter)) continue;
      try {
        await this.#call('addLora', { loraName: key, loraPath: path });
      } catch (error) {
        if (this.#byName.get(name) === adapter) this.#byName.delete(name);
        onLost(name, error);
        continue;
      }
      // It was removed, and its last request ended, while it was loaded.
      if (!this.#isWanted(adapter)) await this.#call('removeLora', { loraName: key }).catch(() => {});
    }
  }

  #isWanted(adapter: RemoteAdapter): boolean {
    return this.#byName.get(adapter.name) === adapter || this.#removed.includes(adapter);
  }
}
