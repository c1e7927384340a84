import type { Kernel } from './lib/kernel.ts';
import { rotateInPlace } from './lib/rotary.ts';

/** Rotary position embedding of queries and keys, in place. */
export const rope: Kernel<'rope'> = rotateInPlace;
