import { InvalidRequestError } from '../errors.ts';

/** A KV cache: its blocks, the null block included, and tokens per block. */
interface CacheSize {
  readonly numBlocks: number;
  readonly blockSize: number;
}

/** Whether the cache could hold such a request alone. The last token is sampled, never computed. */
export function fitsCache({ numBlocks, blockSize }: CacheSize, promptTokens: number, maxTokens: number): boolean {
  return Math.ceil((promptTokens + maxTokens - 1) / blockSize) < numBlocks;
}

/** Throws InvalidRequestError, with numbers, when the KV cache could never hold such a request. */
export function checkFits(cache: CacheSize, promptTokens: number, maxTokens: number): void {
  if (fitsCache(cache, promptTokens, maxTokens)) return;
  const { numBlocks, blockSize } = cache;
  const needed = Math.ceil((promptTokens + maxTokens - 1) / blockSize);
  const available = numBlocks - 1;
  throw new InvalidRequestError(
    `The request needs ${needed} KV blocks (${promptTokens} prompt tokens, up to ${maxTokens} output tokens, ` +
      `${blockSize} tokens per block), the cache has ${available}. Shorten the prompt or lower max_tokens.`,
    Math.ceil(promptTokens / blockSize) > available ? 'prompt' : 'max_tokens',
  );
}
