import type { BlockManager, TableStart } from './block-manager.ts';
import type { HostTier } from './host-tier.ts';
import type { Request } from './request.ts';

/** Finds what a request that is about to run need not compute. */
export class TableStarts {
  readonly #blocks: BlockManager;
  readonly #hostTier: HostTier | null;

  constructor(blocks: BlockManager, hostTier: HostTier | null) {
    this.#blocks = blocks;
    this.#hostTier = hostTier;
  }

  /**
   * The blocks that a request can begin with in a step: cached ones, or those of a sibling that runs, whichever hold more. At
   * least one token must be computed, for its logits; prompt log-probabilities and means need all of them.
   */
  find(request: Request, step: number): TableStart {
    const reusable = request.computesAll ? 0 : request.numTokens - 1;
    const hit = this.#blocks.lookup(request.tokens, reusable, request.table.salt);
    let shared = hit.numTokens;
    let source: Request | null = null;
    for (const sibling of request.siblings) {
      const most = Math.min(reusable, numSettled(sibling, step));
      const common = most > shared ? request.commonPrefix(sibling, most) : 0;
      if (common <= shared) continue;
      shared = common;
      source = sibling;
    }
    return source === null ? hit : this.#blocks.fork(source.table, shared);
  }

  /** Slots of host memory that go on where the cached blocks of a request end. */
  findHost(request: Request, start: TableStart): number[] {
    const isCached = start.numCached * this.#blocks.blockSize === start.numTokens;
    if (this.#hostTier === null || !isCached || request.computesAll) return [];
    return this.#hostTier.find(start.prefix, request.tokens, start.numTokens, request.numTokens - 1);
  }
}

/** Tokens of a running request that were computed before this step: copies of its blocks, made ahead of the step, hold them. */
function numSettled(request: Request, step: number): number {
  if (request.status !== 'running' || request.isLoading || request.firstStep === step) return 0;
  return request.lastStep === step ? request.numComputed - request.lastQueryLen : request.numComputed;
}
