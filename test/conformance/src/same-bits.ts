import { words } from './checks.ts';
import type { CaseOutcome } from './run-case.ts';

/** Where two runs of a case differ in a bit, in words; undefined when they do not. */
export function sameBits(found: CaseOutcome, first: CaseOutcome): string | undefined {
  for (const [tensor, values] of Object.entries(found.outputs)) {
    const [a, b] = [words(values), words(first.outputs[tensor]!)];
    for (let i = 0; i < a.length; i++) {
      if (a[i] !== b[i]) return `${tensor}[${i}] is ${hex(a[i]!)}, and was ${hex(b[i]!)} on the first chip`;
    }
  }
  return undefined;
}

function hex(word: number): string {
  return `0x${word.toString(16)}`;
}
