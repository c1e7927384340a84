import { BATCH_WORDS, DeltaTarget, ROW_WORDS } from '@quire/core/contract';
import { type DeltaTargetId, RowDelta } from '@quire/core/program';
import { exact } from '../checks.ts';
import { group } from '../define.ts';
import { Random } from '../random.ts';
import type { CaseGroup } from '../types.ts';

interface Geometry {
  maxRows: number;
  maxModelLen: number;
  maxBlocks: number;
  biasWords: number;
  quick: boolean;
}
type TargetName = keyof typeof DeltaTarget;
type Edit = (random: Random, delta: RowDelta, words: Readonly<Record<TargetName, number>>) => void;

const targets = Object.entries(DeltaTarget) as [TargetName, DeltaTargetId][];
const MAX_SEGMENTS = 40;

const edits: Readonly<Record<string, Edit>> = {
  'one word each': (random, delta, words) => {
    for (const [name, id] of targets) delta.add(id, random.integer(0, words[name]), data(random, 1));
  },
  'ends of each': (random, delta, words) => {
    for (const [name, id] of targets) {
      delta.add(id, 0, data(random, 1));
      delta.add(id, words[name] - 1, data(random, 1));
    }
  },
  'whole tensors': (random, delta, words) => {
    for (const [name, id] of targets) delta.add(id, 0, data(random, words[name]));
  },
  'a row': (random, delta) => delta.add(DeltaTarget.rows, ROW_WORDS, data(random, ROW_WORDS)),
  'decode step': (random, delta) => {
    delta.add(DeltaTarget.batch, 0, data(random, 2 * BATCH_WORDS));
    delta.add(DeltaTarget.blockTables, 3, data(random, 1));
  },
  'long prompt': (random, delta, words) => delta.add(DeltaTarget.tokenIds, 1, data(random, words.tokenIds - 2)),
  neighbours: (random, delta, words) => {
    for (let i = 0; i < Math.min(MAX_SEGMENTS, words.tokenIds); i++)
      delta.add(DeltaTarget.tokenIds, i, data(random, 1));
  },
  'uneven lengths': (random, delta, words) => {
    for (let at = 0, length = 1; at + length <= words.tokenIds && length <= MAX_SEGMENTS; at += length + 1, length++) {
      delta.add(DeltaTarget.tokenIds, at, data(random, length));
    }
  },
  nothing: () => {},
  backwards: (random, delta, words) => {
    for (let i = 0; i < 20; i++) delta.add(DeltaTarget.biases, words.biases - 1 - i, data(random, 1));
  },
};

export function applyRowDeltaCases(): CaseGroup[] {
  const geometries: Geometry[] = [
    { maxRows: 4, maxModelLen: 16, maxBlocks: 4, biasWords: 8, quick: true },
    { maxRows: 16, maxModelLen: 129, maxBlocks: 9, biasWords: 17, quick: true },
    { maxRows: 64, maxModelLen: 512, maxBlocks: 32, biasWords: 64, quick: false },
    { maxRows: 256, maxModelLen: 100, maxBlocks: 7, biasWords: 3, quick: false },
  ];
  return geometries.flatMap(deltas);
}

function deltas(geometry: Geometry): CaseGroup[] {
  const { maxRows, maxModelLen, maxBlocks, biasWords, quick } = geometry;
  const widths = { rows: ROW_WORDS, blockTables: maxBlocks, tokenIds: maxModelLen, biases: biasWords };
  const shapes = { ...widths, batch: BATCH_WORDS };
  const rowsOf = (name: TargetName) => (name === 'batch' ? 1 + maxRows : maxRows);
  const words = Object.fromEntries(targets.map(([name]) => [name, rowsOf(name) * shapes[name]])) as Record<
    TargetName,
    number
  >;
  const deltaWords = 4 + 4 * MAX_SEGMENTS + targets.reduce((sum, [name]) => sum + words[name], 0);
  const unchanged = exact('words are copied or left as they are');
  return group({
    name: `rows=${maxRows} len=${maxModelLen} blocks=${maxBlocks} biases=${biasWords}`,
    quick,
    maxSizes: { deltaSegments: MAX_SEGMENTS },
    build(builder) {
      builder.external('delta', 'u32', [deltaWords]);
      for (const [name] of targets) builder.external(name, 'u32', [rowsOf(name), shapes[name]]);
      builder.add({
        op: 'applyRowDelta',
        delta: 'delta',
        rows: 'rows',
        blockTables: 'blockTables',
        tokenIds: 'tokenIds',
        batch: 'batch',
        biases: 'biases',
      });
    },
    checks: { rows: unchanged, blockTables: unchanged, tokenIds: unchanged, batch: unchanged, biases: unchanged },
    variants: Object.entries(edits).flatMap(([name, edit]) => {
      const { segments } = record(new Random(0), edit, words);
      return [segments, MAX_SEGMENTS].map(deltaSegments => ({
        name: `${name} segments=${segments}/${deltaSegments}`,
        sizes: { deltaSegments },
        ...(segments === 0 ? { trivial: 'nothing changes' } : {}),
        fill: (random: Random) => ({
          ...Object.fromEntries(targets.map(([target]) => [target, data(random, words[target])])),
          delta: record(random, edit, words).pack().slice(),
        }),
      }));
    }),
  });
}

function record(random: Random, edit: Edit, words: Readonly<Record<TargetName, number>>): RowDelta {
  const delta = new RowDelta();
  edit(random, delta, words);
  return delta;
}

function data(random: Random, length: number): Uint32Array {
  return Uint32Array.from({ length }, () => random.word());
}
