import type { GenerationConfig } from '../models/config.ts';
import type { GrammarService } from '../structured-output/grammar-service.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import type { ModelExecutor } from '../worker/types.ts';
import type { LoadAdapter, LoraRequest } from './adapters.ts';
import type { BlockObserver } from './block-observer.ts';
import type { LLMEngineConfig } from './create-scheduler.ts';
import type { EngineObserver } from './engine-stats.ts';
import type { BlockHash } from './prefix-cache.ts';
import type { ReopenExecutor } from './recovery.ts';
import type { ResumedCompletion } from './resume.ts';

export interface LLMEngineOptions {
  executor: ModelExecutor;
  /** Opens another executor when the device is lost, or when weights were discarded. Default: the engine closes instead. */
  reopen?: ReopenExecutor;
  config: LLMEngineConfig;
  /** null: prompts and outputs are token ids only. */
  tokenizer: Tokenizer | null;
  /** Ids that end a request unless it ignores EOS. */
  eosTokenIds: readonly number[];
  generationConfig?: GenerationConfig | null;
  /** Matches structured outputs; without it, requests for them are refused. */
  grammars?: GrammarService;
  observer?: EngineObserver;
  /** Told what the prefix cache holds. */
  blockObserver?: BlockObserver;
  /** Milliseconds on a monotonic clock. Default: performance.now. */
  clock?: () => number;
  /** Replaces the hash of the prefix cache. */
  prefixHash?: BlockHash;
  /** Loads an adapter into host memory. Absent: the engine takes none. */
  loadAdapter?: LoadAdapter;
}

export interface AddOptions {
  /** A label of the caller's; it need not be unique. Default: the number of the request. */
  requestId?: string;
  /**
   * Number of its first completion among all that were ever asked for: its place in the queue, and its seed where it has none,
   * derive from it. A request that goes on in another engine keeps it. Default: the next one.
   */
  number?: number;
  /** The adapter that computes it, which must be loaded. Default: the model alone does. */
  loraRequest?: Pick<LoraRequest, 'loraName'> | null;
  /** What its completions begin with, one entry for each: they go on where another engine left them, token for token. */
  resume?: readonly ResumedCompletion[];
}
