import { NONE, type Op, SEQUENCE_WORDS } from '@quire/core/contract';
import { describe, expect, it } from 'vitest';
import { f32, runOps, type TestTensor, u32 } from './run-op.ts';

const numbers = (count: number, seed: number) => Array.from({ length: count }, (_, i) => Math.sin(i * seed + seed));

describe('results do not depend on the batch, to the last bit', () => {
  it('linear gives a row alone what it gives it among others', async () => {
    const [rows, k, n] = [5, 37, 23];
    const [x, weight] = [numbers(rows * k, 0.7), numbers(n * k, 1.3)];
    const op: Op = { op: 'linear', x: 'x', weight: 'weight', out: 'out', activation: 'gelu', outColumn: 0 };
    const run = async (values: number[], count: number) =>
      (await runOps([op], { x: f32([count, k], values), weight: f32([n, k], weight), out: f32([count, n]) }, ['out']))
        .out;
    const together = await run(x, rows);
    for (let r = 0; r < rows; r++) {
      expect(await run(x.slice(r * k, (r + 1) * k), 1)).toEqual(together.slice(r * n, (r + 1) * n));
    }
  });

  it.each([0, 6])('prefill in one step, in chunks and by decode agree (window %d)', async window => {
    const [length, heads, kvHeads, headDim, blockSize] = [19, 4, 2, 8, 4];
    const geometry = { heads, kvHeads, headDim, blockSize };
    const width = (heads + 2 * kvHeads) * headDim;
    const qkv = numbers(length * width, 0.37);
    const blocks = [4, 1, 5, 2, 3];
    const cache: TestTensor = { dtype: 'f16', shape: [6, kvHeads, blockSize, headDim] };
    const slots = Array.from({ length }, (_, p) => blocks[Math.floor(p / blockSize)]! * blockSize + (p % blockSize));

    async function attend(chunks: number[]): Promise<number[]> {
      const outputs: number[] = [];
      let start = 0;
      for (const chunk of chunks) {
        const end = start + chunk;
        const tensors = {
          history: f32([length, width], qkv),
          slotMapping: u32(
            [length],
            slots.map((slot, p) => (p < end ? slot : NONE)),
          ),
          qkv: f32([chunk, width], qkv.slice(start * width, end * width)),
          k: cache,
          v: cache,
          sequences: u32([1, SEQUENCE_WORDS], [0, 0, chunk, end, 0, 0, start, length]),
          blockTables: u32([1, 5], blocks),
          out: f32([chunk, heads * headDim]),
        };
        const ops: Op[] = [
          { op: 'kvWrite', qkv: 'history', slotMapping: 'slotMapping', kCache: 'k', vCache: 'v', ...geometry },
          { op: 'pagedAttention', qkv: 'qkv', kCache: 'k', vCache: 'v', sequences: 'sequences', blockTables: 'blockTables', out: 'out', scale: 0.3, window, softCap: 0, ...geometry }, // biome-ignore format: one op
        ];
        outputs.push(...(await runOps(ops, tensors, ['out'])).out);
        start = end;
      }
      return outputs;
    }

    const whole = await attend([length]);
    expect(await attend([7, 1, 11])).toEqual(whole);
    expect(await attend(new Array(length).fill(1))).toEqual(whole);
  });
});
