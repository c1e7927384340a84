import { ConfigError } from '../errors.ts';
import type { ExecutorLimits, ModelExecutor } from '../worker/types.ts';
import { BlockManager } from './block-manager.ts';
import type { BlockObserver } from './block-observer.ts';
import { DraftModel } from './draft-model.ts';
import type { EngineConfig } from './engine-config.ts';
import { HostTier } from './host-tier.ts';
import type { BlockHash } from './prefix-cache.ts';
import { PromptLookup } from './prompt-lookup.ts';
import { Scheduler } from './scheduler.ts';
import type { Speculator } from './speculator.ts';

export type LLMEngineConfig = Pick<
  EngineConfig,
  'seed' | 'enablePrefixCaching' | 'enableChunkedPrefill' | 'runAhead' | 'numSchedulerSteps'
> &
  Partial<
    Pick<
      EngineConfig,
      | 'speculativeConfig'
      | 'schedulingPolicy'
      | 'watermark'
      | 'longPrefillTokenThreshold'
      | 'maxNumQueuedReqs'
      | 'maxNumQueuedTokens'
      | 'maxCpuLoras'
    >
  >;

/** Blocks are saved to the host this many full steps before they are needed, so that transfers have time. */
const STEPS_OF_TRANSFER = 4;

/**
 * The scheduler of an engine with its blocks, and the host tier where the executor has one. Throws ConfigError for options that
 * do not go together.
 */
export function createScheduler(
  executor: ModelExecutor,
  config: LLMEngineConfig,
  { hash, observer = null }: { hash?: BlockHash | undefined; observer?: BlockObserver | null | undefined } = {},
): Scheduler {
  const { limits } = executor;
  checkConfig(limits, config);
  const { numBlocks, numHostBlocks, blockSize } = limits;
  const { enablePrefixCaching, enableChunkedPrefill, runAhead, numSchedulerSteps, watermark = 0 } = config;
  const sizes = { numBlocks, numHostBlocks, blockSize };
  const blocks = new BlockManager({ ...sizes, enablePrefixCaching, observer, ...(hash ? { hash } : {}) });
  const hostTier =
    numHostBlocks === 0
      ? null
      : new HostTier({
          blocks,
          transfer: executor.transfer.bind(executor),
          lookahead: STEPS_OF_TRANSFER * blocks.blocksFor(limits.maxNumBatchedTokens),
        });
  const { longPrefillTokenThreshold = 0 } = config;
  const pace = { enableChunkedPrefill, longPrefillTokenThreshold, runAhead, numSchedulerSteps, watermark };
  const speculator = createSpeculator(executor, config, hash);
  return new Scheduler({ limits, blocks, hostTier, speculator, ...pace });
}

function createSpeculator(
  { draft = null }: ModelExecutor,
  { speculativeConfig = null, enablePrefixCaching }: LLMEngineConfig,
  hash: BlockHash | undefined,
): Speculator | null {
  if (speculativeConfig === null) return null;
  if (speculativeConfig.method === 'ngram') return new PromptLookup(speculativeConfig);
  if (draft === null)
    throw new ConfigError('speculativeConfig names a draft model, but none was loaded.', 'speculativeConfig');
  const { numSpeculativeTokens } = speculativeConfig;
  return new DraftModel({ executor: draft, numSpeculativeTokens, enablePrefixCaching, ...(hash ? { hash } : {}) });
}

function checkConfig(limits: ExecutorLimits, config: LLMEngineConfig): void {
  if (!config.enableChunkedPrefill && limits.maxNumBatchedTokens < limits.maxModelLen) {
    throw new ConfigError(
      `Without chunked prefill, maxNumBatchedTokens (${limits.maxNumBatchedTokens}) must be at least maxModelLen ` +
        `(${limits.maxModelLen}): a request that is computed again must fit one step. Raise it, or enable chunked prefill.`,
      'maxNumBatchedTokens',
    );
  }
  if (limits.numHostBlocks > 0 && !config.enablePrefixCaching) {
    throw new ConfigError(
      'swapSpace keeps blocks of the prefix cache in host memory, but enablePrefixCaching is false. Enable it, or set swapSpace to 0.',
      'swapSpace',
    );
  }
}
