import { writeToCache } from './lib/cache-write.ts';
import type { Kernel } from './lib/kernel.ts';

/** Keys and values of the step's tokens, to their slots of the cache. */
export const kvWrite: Kernel<'kvWrite'> = writeToCache;
