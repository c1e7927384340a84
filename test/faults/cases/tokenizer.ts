import type { BadFolder } from '../harness/bad-folder.ts';
export const tokenizerCases: BadFolder[] = [];
