import type { RemoteStats } from './step-records.ts';

const zero: RemoteStats = {
  numRequestsRunning: 0,
  numPlaces: 0,
  kvCacheUsage: 0,
  numPreemptions: 0,
  prefixCacheQueries: 0,
  prefixCacheHits: 0,
  draftTokens: 0,
  acceptedTokens: 0,
  numRecoveries: 0,
  numSteps: 0,
  hostTierBytes: { toHost: 0, toDevice: 0 },
  numDrafts: 0,
  acceptedPerPosition: [],
};

/** What engines told of themselves, one after another: counters go on where the one before ended. */
export class RemoteCounters {
  #before = zero;
  #now = zero;

  get running(): number {
    return this.#now.numRequestsRunning;
  }

  /** null: the engine has not told yet. */
  get places(): number | null {
    return this.#now === zero ? null : this.#now.numPlaces;
  }

  update(stats: RemoteStats): void {
    this.#now = stats;
  }

  /** The engine is gone, and its cache with it. */
  lost(): void {
    this.#before = { ...this.read(0), numRequestsRunning: 0, numPlaces: 0, kvCacheUsage: 0 };
    this.#now = zero;
  }

  /** An engine that was replaced is one failure that was survived. */
  read(numRestarts: number): RemoteStats {
    const [a, b] = [this.#before, this.#now];
    return {
      numRequestsRunning: b.numRequestsRunning,
      numPlaces: b.numPlaces,
      kvCacheUsage: b.kvCacheUsage,
      numPreemptions: a.numPreemptions + b.numPreemptions,
      prefixCacheQueries: a.prefixCacheQueries + b.prefixCacheQueries,
      prefixCacheHits: a.prefixCacheHits + b.prefixCacheHits,
      draftTokens: a.draftTokens + b.draftTokens,
      acceptedTokens: a.acceptedTokens + b.acceptedTokens,
      numRecoveries: a.numRecoveries + b.numRecoveries + numRestarts,
      numSteps: a.numSteps + b.numSteps,
      hostTierBytes: {
        toHost: a.hostTierBytes.toHost + b.hostTierBytes.toHost,
        toDevice: a.hostTierBytes.toDevice + b.hostTierBytes.toDevice,
      },
      numDrafts: a.numDrafts + b.numDrafts,
      acceptedPerPosition: sums(a.acceptedPerPosition, b.acceptedPerPosition),
    };
  }
}

/** Of lists of which one may be the longer. */
function sums(a: readonly number[], b: readonly number[]): number[] {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, i) => (a[i] ?? 0) + (b[i] ?? 0));
}
