/**
 * Told which content the prefix cache can give, on the engine's path: must not throw. Content is named by its prefix, a number that
 * is never given again in one engine. Content under a cache salt is not told: what depends on it is for those who know the salt.
 */
export interface BlockObserver {
  /** Content that no block held before: `tokens`, valid during the call, behind the content `parent` (null: at the beginning). */
  onBlockStored(prefix: number, parent: number | null, tokens: Uint32Array): void;
  /** No block holds this content any more. */
  onBlockRemoved(prefix: number): void;
  /** The cache is empty. A new engine says so first. */
  onBlocksCleared(): void;
}
