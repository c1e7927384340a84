import type { BlockObserver } from '@quire/core';

/** Maps that vLLM's subscribers know, by their `type`. Hashes are names of content, of which routers only ask whether they are equal. */
export type KvEvent =
  | {
      type: 'BlockStored';
      block_hashes: number[];
      parent_block_hash: number | null;
      token_ids: number[];
      block_size: number;
      lora_id: null;
      medium: 'GPU';
      lora_name: null;
    }
  | { type: 'BlockRemoved'; block_hashes: number[]; medium: 'GPU' }
  | { type: 'AllBlocksCleared' };

/** Gathers what the prefix cache tells until it is taken: blocks that follow each other go as one event. */
export class KvEventBatch implements BlockObserver {
  readonly #onFirst: () => void;
  #events: KvEvent[] = [];

  /** `onFirst`: called when there is something to take. */
  constructor(onFirst: () => void) {
    this.#onFirst = onFirst;
  }

  onBlockStored(prefix: number, parent: number | null, tokens: Uint32Array): void {
    const last = this.#events.at(-1);
    if (last?.type === 'BlockStored' && last.block_hashes.at(-1) === parent) {
      last.block_hashes.push(prefix);
      for (const token of tokens) last.token_ids.push(token);
      return;
    }
    this.#add({
      type: 'BlockStored',
      block_hashes: [prefix],
      parent_block_hash: parent,
      token_ids: [...tokens],
      block_size: tokens.length,
      lora_id: null,
      medium: 'GPU',
      lora_name: null,
    });
  }

  onBlockRemoved(prefix: number): void {
    const last = this.#events.at(-1);
    if (last?.type === 'BlockRemoved') last.block_hashes.push(prefix);
    else this.#add({ type: 'BlockRemoved', block_hashes: [prefix], medium: 'GPU' });
  }

  onBlocksCleared(): void {
    // What was told before it does not matter any more.
    this.#events.length = 0;
    this.#add({ type: 'AllBlocksCleared' });
  }

  take(): KvEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  #add(event: KvEvent): void {
    this.#events.push(event);
    if (this.#events.length === 1) this.#onFirst();
  }
}
