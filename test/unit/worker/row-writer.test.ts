import {
  BATCH_WORDS,
  DELTA_HEADER_WORDS,
  DELTA_SEGMENT_WORDS,
  DeltaTarget,
  ROW_WORDS,
  Row,
} from '@quire/core/contract';
import { describe, expect, it } from 'vitest';
import { RowWriter } from '../../../packages/core/src/worker/row-writer.ts';
import type { SchedulerOutput } from '../../../packages/core/src/worker/types.ts';
import { decodeStep, newRow, prefillStep } from './steps.ts';

const shape = { maxRows: 4, maxBlocksPerSequence: 8, maxModelLen: 64, ringSlots: 4, maxBiasWords: 16 };
const names = Object.fromEntries(Object.entries(DeltaTarget).map(([name, id]) => [id, name]));

interface Segment {
  target: string;
  offset: number;
  data: number[];
}

/** A writer whose deltas are unpacked. */
function recorder(limits = { words: 4096, segments: 64 }) {
  const deltas: Segment[][] = [];
  const writer = new RowWriter(shape, 4, limits, delta => {
    const packed = [...delta.pack()];
    expect(packed.length).toBeLessThanOrEqual(limits.words);
    expect(packed[0]).toBeLessThanOrEqual(limits.segments);
    deltas.push(Array.from({ length: packed[0]! }, (_, i) => segment(packed, i)));
  });
  const write = (step: SchedulerOutput): Segment[][] => {
    deltas.length = 0;
    writer.write(step);
    writer.advance(step.times);
    return deltas.map(delta => [...delta]);
  };
  return { writer, write };
}

function segment(packed: number[], index: number): Segment {
  const at = DELTA_HEADER_WORDS + index * DELTA_SEGMENT_WORDS;
  const [target, offset, source, length] = packed.slice(at, at + 4) as [number, number, number, number];
  return { target: names[target]!, offset, data: packed.slice(source, source + length) };
}

const prefill = prefillStep([newRow(1, [5, 6, 7], 20)], [{ row: 1, start: 0, blocks: [9, 3] }]);

describe('RowWriter', () => {
  it('brings a new row with its blocks, tokens and biases, and the batch', () => {
    const sampling = {
      temperature: 0.5,
      seed: 0x1_0000_0002n,
      minTokens: 2,
      stopTokenIds: [7, 7, 8],
      logitBias: [[3, -1.5]] as const,
    };
    const step = prefillStep([newRow(1, [5, 6, 7], 20, sampling)], [{ row: 1, start: 0, blocks: [9, 3] }]);
    const [delta, ...rest] = recorder().write(step);
    expect(rest).toEqual([]);
    const byTarget = Object.fromEntries(delta!.map(s => [s.target, s]));
    expect(byTarget.blockTables).toMatchObject({ offset: 8, data: [9, 3] });
    expect(byTarget.tokenIds).toMatchObject({ offset: 64, data: [5, 6, 7] });
    expect(byTarget.rows!.offset).toBe(ROW_WORDS);
    const row = Uint32Array.from(byTarget.rows!.data);
    const floats = new Float32Array(row.buffer);
    expect([row[Row.numTokens], row[Row.numComputed], row[Row.tokenLimit], row[Row.blockCredit]]).toEqual([
      3, 0, 20, 8,
    ]);
    expect([row[Row.seedLow], row[Row.seedHigh], row[Row.promptTokens], row[Row.minTokensUntil]]).toEqual([2, 1, 3, 5]);
    expect([row[Row.numStopIds], row[Row.numBiases]]).toEqual([2, 1]);
    expect([floats[Row.temperature], floats[Row.topP], floats[Row.repetitionPenalty]]).toEqual([0.5, 1, 1]);
    expect(byTarget.biases).toMatchObject({
      offset: 16,
      data: [7, 8, 3, new Uint32Array(Float32Array.of(-1.5).buffer)[0]],
    });
    expect(byTarget.batch).toMatchObject({ offset: 0, data: [1, 0, 3, 1, 0, 0, 0, 0, 1, 0, 3, 0, 1, 0, 0, 0] });
  });

  it('writes of a repeated batch only what its rows gained', () => {
    const { write } = recorder();
    write(prefill);
    const step = decodeStep([1]);
    expect(write(step)[0]!.map(({ target }) => target)).toEqual(['batch']);
    expect(write({ ...step, isRepeat: true })).toEqual([]);
    const grants = [{ row: 1, start: 2, blocks: [4] }];
    const [delta] = write({ ...step, isRepeat: true, grants });
    expect(delta!.map(({ target, data }) => [target, data])).toEqual([
      ['blockTables', [4]],
      ['rows', [12]],
    ]);
  });

  it('leaves stop ids out while nothing masks them', () => {
    const step = prefillStep([newRow(0, [1], 9, { stopTokenIds: [7] })], [{ row: 0, start: 0, blocks: [1] }]);
    expect(
      recorder()
        .write(step)[0]!
        .some(s => s.target === 'biases'),
    ).toBe(false);
  });

  it('writes nothing in steady decode', () => {
    const { write } = recorder();
    write(prefill);
    expect(write(decodeStep([1])).length).toBe(1);
    expect(write(decodeStep([1]))).toEqual([]);
    expect(write({ ...decodeStep([1]), times: 3 })).toEqual([]);
  });

  it('writes a grant and the credit that follows from it', () => {
    const { write } = recorder();
    write(prefill);
    write(decodeStep([1]));
    const step = { ...decodeStep([1]), grants: [{ row: 1, start: 2, blocks: [4] }] };
    expect(write(step)).toEqual([
      [
        { target: 'blockTables', offset: 10, data: [4] },
        { target: 'rows', offset: ROW_WORDS + Row.blockCredit, data: [12] },
      ],
    ]);
  });

  it('writes only the records that changed, with the device’s step counter in the header', () => {
    const { write } = recorder();
    write(decodeStep([0, 1, 2], 2));
    // Row 1 leaves, row 3 comes: the header stays as it is.
    expect(write(decodeStep([0, 3, 2]))).toEqual([
      [{ target: 'batch', offset: 2 * BATCH_WORDS, data: [3, 1, 1, 1, 1, 0, 0, 0] }],
    ]);
    expect(write(decodeStep([0, 3]))).toEqual([[{ target: 'batch', offset: 0, data: [2, 3, 2, 2, 0, 0, 0, 0] }]]);
    // A row that comes back behind the others is compared with what lies there.
    expect(write(decodeStep([0, 3, 2]))).toEqual([[{ target: 'batch', offset: 0, data: [3, 4, 3, 3, 0, 0, 0, 0] }]]);
  });

  it('splits what is longer than a delta', () => {
    const tokens = Array.from({ length: 60 }, (_, i) => i);
    const step = prefillStep([newRow(2, tokens, 64)], [{ row: 2, start: 0, blocks: [1, 2, 3, 4, 5, 6, 7, 8] }]);
    const whole = recorder().write(step).flat();
    for (const limits of [
      { words: 40, segments: 64 },
      { words: 4096, segments: 1 },
      { words: 9, segments: 2 },
    ]) {
      const deltas = recorder(limits).write(step);
      expect(deltas.length).toBeGreaterThan(2);
      expect(scattered(deltas.flat())).toEqual(scattered(whole));
    }
  });
});

/** What the segments leave in the row state. */
function scattered(segments: Segment[]): Record<string, number> {
  return Object.fromEntries(
    segments.flatMap(({ target, offset, data }) => data.map((word, i) => [`${target}[${offset + i}]`, word])),
  );
}
