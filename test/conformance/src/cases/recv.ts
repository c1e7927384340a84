import type { CaseGroup } from '../types.ts';
import { roundTrips } from './send.ts';

/** In a pipeline of one stage: takes what was sent before. */
export function recvCases(): CaseGroup[] {
  return roundTrips([
    [2, false],
    [5, true],
    [80, true],
    [33, true],
    [288, false],
    [768, false],
  ]);
}
