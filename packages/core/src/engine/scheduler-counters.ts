/** What a scheduler has done since its engine began. */
export class SchedulerCounters {
  preemptions = 0;
  /** Tokens looked up in the prefix cache, and found there, by requests that ran for the first time. */
  prefixCacheQueries = 0;
  prefixCacheHits = 0;
  /** Tokens that were guessed ahead, and those of them that were right. */
  draftTokens = 0;
  acceptedTokens = 0;
  /** How often guesses were checked, and how often the first, the second ... of them was right. */
  numDrafts = 0;
  acceptedPerPosition: number[] = [];
}
