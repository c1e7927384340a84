import { DeltaTarget } from '@quire/core/contract';
import { RowDelta } from '@quire/core/program';
import { describe, expect, it } from 'vitest';

describe('RowDelta', () => {
  it('packs a header, segments with source offsets from the start, and the words', () => {
    const delta = new RowDelta();
    delta.add(DeltaTarget.tokenIds, 100, Uint32Array.of(7, 8, 9));
    delta.add(DeltaTarget.rows, 24, Uint32Array.of(1));
    expect(delta.segments).toBe(2);
    expect(delta.words).toBe(16);
    expect([...delta.pack()]).toEqual([2, 0, 0, 0, 2, 100, 12, 3, 0, 24, 15, 1, 7, 8, 9, 1]);
  });

  it('copies what it is given, skips empty data, and starts anew after clear', () => {
    const delta = new RowDelta();
    const data = Uint32Array.of(5);
    delta.add(DeltaTarget.batch, 0, data);
    delta.add(DeltaTarget.batch, 9, new Uint32Array(0));
    data[0] = 6;
    expect([...delta.pack()]).toEqual([1, 0, 0, 0, 3, 0, 8, 1, 5]);
    delta.clear();
    expect(delta.segments).toBe(0);
    expect([...delta.pack()]).toEqual([0, 0, 0, 0]);
    delta.add(DeltaTarget.biases, 2, data);
    expect([...delta.pack()]).toEqual([1, 0, 0, 0, 4, 2, 8, 1, 6]);
  });

  it('grows', () => {
    const delta = new RowDelta();
    for (let i = 0; i < 500; i++) delta.add(DeltaTarget.rows, i * 10, new Uint32Array(10).fill(i));
    const packed = delta.pack();
    expect(packed).toHaveLength(4 + 500 * 4 + 5000);
    const [target, destination, source, length] = packed.subarray(4 + 499 * 4, 8 + 499 * 4);
    expect([target, destination, length]).toEqual([0, 4990, 10]);
    expect([...packed.subarray(source!, source! + length!)]).toEqual(new Array(10).fill(499));
  });
});
