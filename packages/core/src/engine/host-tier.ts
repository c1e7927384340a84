import type { BlockManager } from './block-manager.ts';
import type { BlockTable } from './block-table.ts';
import { FreeBlockQueue } from './free-block-queue.ts';
import type { Request } from './request.ts';

/** Copies blocks between the device's cache and host slots; resolves when both sides may change again. */
export type TransferBlocks = (
  blocks: Int32Array,
  hostSlots: Int32Array,
  direction: 'toHost' | 'toDevice',
) => Promise<void>;

export interface HostTierOptions {
  blocks: BlockManager;
  transfer: TransferBlocks;
  /** Blocks from the front of the free queue that are saved before they are handed out. */
  lookahead: number;
}

interface Move {
  readonly direction: 'toHost' | 'toDevice';
  readonly blocks: number[];
  readonly slots: number[];
  /** Who waits for a load, in which generation. */
  readonly request: Request | null;
  readonly generation: number;
  failed: boolean;
}

/**
 * The second tier of the prefix cache, in host memory (swap_space): blocks that are about to be evicted, and those of preempted
 * requests, are saved there and loaded again instead of being computed again. A slot is an entry of the same cache as the
 * blocks, found by the same tokens; the slot used least recently is overwritten.
 *
 * A transfer holds its blocks as a table would, so that they are neither freed nor handed out before it is done. Results are
 * taken by `poll` alone, so that the schedule depends on when that is called and on nothing else.
 */
export class HostTier {
  readonly #blocks: BlockManager;
  readonly #transfer: TransferBlocks;
  readonly #lookahead: number;
  /** Slots that may be overwritten, least recently used first; slot s is entry s + 1. */
  readonly #slots: FreeBlockQueue;
  /** Blocks that are being saved. */
  readonly #leaving = new Set<number>();
  readonly #saves: Move = newMove('toHost');
  readonly #inFlight = new Map<Move, Promise<void>>();
  #done: Move[] = [];
  #isDropped = false;
  /** Blocks moved so far. */
  readonly moved = { toHost: 0, toDevice: 0 };

  constructor(options: HostTierOptions) {
    this.#blocks = options.blocks;
    this.#transfer = options.transfer;
    this.#lookahead = options.lookahead;
    this.#slots = new FreeBlockQueue(options.blocks.numHostBlocks + 1);
  }

  /** Blocks that leave the device now will be free soon. */
  get isSaving(): boolean {
    return this.#leaving.size > 0;
  }

  get isBusy(): boolean {
    return this.#inFlight.size > 0 || this.#done.length > 0;
  }

  /** Blocks that transfers hold, one entry each. */
  *heldBlocks(): Generator<number> {
    for (const { blocks } of [this.#saves, ...this.#inFlight.keys(), ...this.#done]) yield* blocks;
  }

  /** Resolves when a transfer is done that was not at the last `poll`. */
  async settled(): Promise<void> {
    if (this.#done.length === 0) await Promise.race(this.#inFlight.values());
  }

  /** Saves the cached blocks of a table that is about to be freed, with the next `saveNext`. */
  saveTable(table: BlockTable): void {
    for (let i = 0; i < table.numCached; i++) this.#save(table.at(i));
  }

  /**
   * Starts to save the blocks that will be handed out next, half of the free ones at most, so that the others can be; and those
   * of tables that were freed.
   */
  saveNext(): void {
    if (this.#isDropped) return;
    const next: number[] = [];
    let [left, most] = [this.#lookahead, this.#blocks.numFreeBlocks >> 1];
    for (const block of this.#blocks.freeBlocks()) {
      if (left-- === 0 || most === 0) break;
      if (!this.#isUnsaved(block)) continue;
      next.push(block);
      most--;
    }
    for (const block of next) this.#save(block);
    this.#flush();
  }

  /** Slots that go on where a cached front of `tokens` ends, up to maxTokens. */
  find(prefix: number, tokens: Uint32Array, from: number, maxTokens: number): number[] {
    const { cache, blockSize, numBlocks } = this.#blocks;
    const slots: number[] = [];
    let end = prefix;
    for (let start = from; start + blockSize <= maxTokens; start += blockSize) {
      const entry = cache!.findHost(end, tokens, start);
      // A slot out of the queue is being filled or read.
      if (entry === 0 || !this.#slots.has(entry - numBlocks + 1)) break;
      end = cache!.prefixOf(entry);
      slots.push(entry - numBlocks);
    }
    return slots;
  }

  /** Fills the blocks of a request's table from index `first` on. Until that is done the request is not scheduled. */
  load(request: Request, first: number, slots: number[]): void {
    const move = newMove('toDevice', request);
    for (const [i, slot] of slots.entries()) {
      const block = request.table.at(first + i);
      this.#blocks.hold(block);
      this.#blocks.skipZero(block);
      this.#slots.remove(slot + 1);
      move.blocks.push(block);
      move.slots.push(slot);
    }
    request.isLoading = true;
    this.#start(move);
  }

  /** Takes the transfers that are done. Returns requests whose blocks could not be loaded. */
  poll(): Request[] {
    const failed: Request[] = [];
    for (const move of this.#done.splice(0)) {
      if (move.direction === 'toHost') this.#saved(move);
      else if (!this.#loaded(move)) failed.push(move.request!);
    }
    return failed;
  }

  /** Resolves when nothing is in flight. */
  async idle(): Promise<void> {
    await Promise.all(this.#inFlight.values());
  }

  /** Forgets everything, with the device that held it. Results of transfers still in flight are ignored. */
  drop(): void {
    this.#isDropped = true;
    this.#inFlight.clear();
    this.#done = [];
  }

  #flush(): void {
    const { blocks, slots } = this.#saves;
    if (blocks.length === 0) return;
    const move = newMove('toHost');
    move.blocks.push(...blocks.splice(0));
    move.slots.push(...slots.splice(0));
    this.#start(move);
  }

  #isUnsaved(block: number): boolean {
    const { cache } = this.#blocks;
    return cache!.has(block) && !this.#leaving.has(block) && cache!.hostTwin(block) === 0;
  }

  #save(block: number): void {
    const { cache, numBlocks } = this.#blocks;
    if (this.#slots.length === 0 || !this.#isUnsaved(block)) return;
    const entry = this.#slots.take() - 1;
    if (cache!.has(numBlocks + entry)) cache!.remove(numBlocks + entry);
    this.#blocks.hold(block);
    this.#leaving.add(block);
    this.#saves.blocks.push(block);
    this.#saves.slots.push(entry);
  }

  #start(move: Move): void {
    const transfer = this.#transfer(Int32Array.from(move.blocks), Int32Array.from(move.slots), move.direction);
    const end = (failed: boolean) => {
      if (this.#isDropped) return;
      move.failed = failed;
      this.#inFlight.delete(move);
      this.#done.push(move);
    };
    this.#inFlight.set(
      move,
      transfer.then(
        () => end(false),
        () => end(true),
      ),
    );
  }

  #saved({ blocks, slots, failed }: Move): void {
    const { cache, numBlocks } = this.#blocks;
    for (const [i, block] of blocks.entries()) {
      this.#leaving.delete(block);
      // Its content may have been disowned meanwhile.
      const isKept = !failed && cache!.has(block);
      if (isKept) cache!.addTwin(numBlocks + slots[i]!, block);
      if (isKept) this.moved.toHost++;
      this.#slots.append(slots[i]! + 1);
      this.#blocks.release(block, isKept);
    }
  }

  /** Returns whether the request that waited has what it waited for. */
  #loaded({ blocks, slots, request, generation, failed }: Move): boolean {
    const { cache, numBlocks } = this.#blocks;
    for (const [i, block] of blocks.entries()) {
      this.#blocks.release(block, false);
      this.#slots.append(slots[i]! + 1);
      if (failed && cache!.has(numBlocks + slots[i]!)) cache!.remove(numBlocks + slots[i]!);
    }
    if (!failed) this.moved.toDevice += blocks.length;
    if (request === null || request.generation !== generation) return true;
    request.isLoading = false;
    return !failed;
  }
}

function newMove(direction: Move['direction'], request: Request | null = null): Move {
  return { direction, blocks: [], slots: [], request, generation: request?.generation ?? 0, failed: false };
}
