import type { LoraRequest } from '@quire/core';
import { HttpError, invalidField } from '../http/errors.ts';

/** What the server needs of an engine to offer adapters. */
export interface AdapterEngine {
  /** Names of the adapters that requests may ask for. */
  readonly loras: readonly string[];
  addLora(request: LoraRequest): Promise<void>;
  removeLora(loraName: string): Promise<void>;
}

/**
 * Where a path that a request gave leads. Rejects with HttpError 400 for one that requests may not load from.
 */
export type AdapterFolders = (path: string) => Promise<string>;

/** The adapters of a server: models of their own to clients, by name. */
export class Adapters {
  readonly #engine: AdapterEngine;
  readonly #modelNames: readonly string[];
  readonly #folders: AdapterFolders | null;
  /** Unix seconds when each was loaded. */
  readonly #created = new Map<string, number>();

  /** `folders`: null where requests may not load adapters. */
  constructor(engine: AdapterEngine, modelNames: readonly string[], folders: AdapterFolders | null) {
    this.#engine = engine;
    this.#modelNames = modelNames;
    this.#folders = folders;
  }

  get names(): readonly string[] {
    return this.#engine.loras;
  }

  created(name: string): number | null {
    return this.#engine.loras.includes(name) ? (this.#created.get(name) ?? null) : null;
  }

  /**
   * What the engine is told of a request for a model: the adapter, or null for the model alone. An adapter that was unloaded since the
   * name was checked is refused by the engine.
   */
  request(model: string): Pick<LoraRequest, 'loraName'> | null {
    return this.#modelNames.includes(model) ? null : { loraName: model };
  }

  /** Loads an adapter of the operator's. Rejects with InvalidRequestError or ModelFormatError. */
  async add(name: string, path: string): Promise<void> {
    if (this.#modelNames.includes(name)) {
      throw invalidField('lora_name', `The model itself is served as ${JSON.stringify(name)}. Choose another name.`);
    }
    await this.#engine.addLora({ loraName: name, loraPath: path });
    this.#created.set(name, Math.floor(Date.now() / 1000));
  }

  /** The same for a request. Rejects with HttpError 403 where those may not. */
  async load(name: string, path: string): Promise<void> {
    const folders = this.#allowed();
    await this.add(name, await folders(path));
  }

  /** Requests that began with it go on. Rejects with HttpError 403, and 404 when there is none of this name. */
  async unload(name: string): Promise<void> {
    this.#allowed();
    if (!this.#engine.loras.includes(name)) {
      const message = `The lora adapter ${JSON.stringify(name.slice(0, 80))} cannot be found.`;
      throw new HttpError(404, message, { param: 'lora_name', code: 'model_not_found' });
    }
    await this.#engine.removeLora(name);
    // Unless it has been loaded anew.
    if (!this.#engine.loras.includes(name)) this.#created.delete(name);
  }

  /** Who may ask for tokens may not therefore say which files the server reads. */
  #allowed(): AdapterFolders {
    if (this.#folders !== null) return this.#folders;
    const message = 'This server loads no adapters on request: start it with --enable-lora and --lora-folder.';
    throw new HttpError(403, message, { code: 'lora_updates_disabled' });
  }
}
