import {
  MASKED_LOGIT,
  NO_THRESHOLD,
  NONE,
  type Op,
  ROW_WORDS,
  Row,
  SAMPLE_FINITE,
  SAMPLE_LIVE,
  SAMPLE_WORDS,
} from '@quire/core/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bits, f32, openSession, runOps, type TestTensor, u32 } from './run-op.ts';

interface SamplerRow {
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  seed?: number;
  presence?: number;
  frequency?: number;
  repetition?: number;
  promptTokens?: number;
  minTokensUntil?: number;
  numStopIds?: number;
  numBiases?: number;
}

function rowsTensor(rows: SamplerRow[]): TestTensor {
  const words = new Uint32Array(rows.length * ROW_WORDS);
  rows.forEach((row, i) => {
    const at = i * ROW_WORDS;
    words[at + Row.temperature] = bits(row.temperature ?? 1);
    words[at + Row.topK] = row.topK ?? 0;
    words[at + Row.topP] = bits(row.topP ?? 1);
    words[at + Row.minP] = bits(row.minP ?? 0);
    words[at + Row.seedLow] = row.seed ?? 0;
    words[at + Row.presencePenalty] = bits(row.presence ?? 0);
    words[at + Row.frequencyPenalty] = bits(row.frequency ?? 0);
    words[at + Row.repetitionPenalty] = bits(row.repetition ?? 1);
    words[at + Row.promptTokens] = row.promptTokens ?? 0;
    words[at + Row.minTokensUntil] = row.minTokensUntil ?? 0;
    words[at + Row.numStopIds] = row.numStopIds ?? 0;
    words[at + Row.numBiases] = row.numBiases ?? 0;
  });
  return u32([rows.length, ROW_WORDS], words);
}

/** (token, row, position, target) of each sample. */
function samplesTensor(records: { row: number; position?: number; target?: number }[]): TestTensor {
  const words = records.flatMap(({ row, position, target }, i) => [i, row, position ?? 5, target ?? NONE]);
  return u32([records.length, SAMPLE_WORDS], words);
}

const live = SAMPLE_LIVE | SAMPLE_FINITE;
const filter: Op = { op: 'filterLogits', logits: 'logits', samples: 'samples', rows: 'rows', thresholds: 'thresholds' };
const draw: Op = {
  op: 'sample',
  logits: 'logits',
  thresholds: 'thresholds',
  samples: 'samples',
  rows: 'rows',
  sampled: 'sampled',
};

async function threshold(logits: number[], row: SamplerRow): Promise<number> {
  const tensors = {
    logits: f32([1, logits.length], logits),
    samples: samplesTensor([{ row: 0 }]),
    rows: rowsTensor([row]),
    thresholds: f32([1]),
  };
  return (await runOps([filter], tensors, ['thresholds'])).thresholds[0]!;
}

/**
 * Ids that survive, by the textbook: probabilities, then min-p against the largest, top-k by sorting, and the smallest set in
 * falling order whose renormalised mass reaches topP, with those equal to its last.
 */
function survivingIds(logits: number[], { temperature = 1, topK = 0, topP = 1, minP = 0 }: SamplerRow): number[] {
  const scaled = logits.map(logit => Math.exp((logit - Math.max(...logits)) / temperature));
  const order = logits.map((_, id) => id).sort((a, b) => logits[b]! - logits[a]!);
  let kept = order.filter(id => scaled[id]! >= minP);
  if (topK > 0) kept = kept.filter(id => logits[id]! >= logits[order[Math.min(topK, order.length) - 1]!]!);
  const total = kept.reduce((sum, id) => sum + scaled[id]!, 0);
  let mass = 0;
  const last = kept.find(id => {
    if (topP === 1) return false;
    mass += scaled[id]! / total;
    return mass >= topP - 1e-7;
  });
  return kept.filter(id => logits[id]! >= logits[last ?? kept.at(-1)!]!).sort((a, b) => a - b);
}

describe('filterLogits', () => {
  const logits = [1, 3, 2, 0, 3, -1];

  it.each([
    ['no active filter', {}, NO_THRESHOLD],
    ['a greedy row', { temperature: 0, topK: 1 }, NO_THRESHOLD],
    ['top-k beyond the vocabulary', { topK: 6 }, NO_THRESHOLD],
    ['top-k 1 with a tie', { topK: 1 }, 3],
    ['top-k 3', { topK: 3 }, 2],
    ['min-p', { minP: 0.3 }, 2],
    ['min-p 1', { minP: 1 }, 3],
    ['min-p at half the temperature', { minP: 0.3, temperature: 0.5 }, 3],
    ['top-p in the tied largest', { topP: 0.3 }, 3],
    ['top-p 0', { topP: 0 }, 3],
    ['top-p over what top-k leaves', { topK: 3, topP: 0.86 }, 2],
    ['top-p that needs two levels', { topP: 0.9 }, 2],
  ] satisfies [string, SamplerRow, number][])('%s', async (_, row, expected) => {
    expect(await threshold(logits, row)).toBe(expected === NO_THRESHOLD ? Math.fround(NO_THRESHOLD) : expected);
  });

  it('lets masked logits survive only when there is nothing else', async () => {
    expect(await threshold([1, MASKED_LOGIT, 0, MASKED_LOGIT], { topK: 3 })).toBe(0);
    expect(await threshold([MASKED_LOGIT, MASKED_LOGIT], { topK: 1 })).toBe(Math.fround(MASKED_LOGIT));
  });

  it('filters nothing in rows with NaN or infinity, with a target, or without a row', async () => {
    const tensors = {
      logits: f32([4, 3], [1, NaN, 2, 1, Infinity, 2, 1, 2, 3, 1, 2, 3]),
      samples: samplesTensor([{ row: 0 }, { row: 0 }, { row: 0, target: 1 }, { row: NONE }]),
      rows: rowsTensor([{ topK: 1 }]),
      thresholds: f32([4]),
    };
    const { thresholds } = await runOps([filter], tensors, ['thresholds']);
    expect(thresholds).toEqual(new Array(4).fill(Math.fround(NO_THRESHOLD)));
  });

  it('keeps the ids that the textbook keeps', async () => {
    const logit = fc.integer({ min: -40, max: 40 }).map(value => value / 8);
    const settings = fc.record({
      temperature: fc.constantFrom(0.25, 1, 2),
      topK: fc.integer({ min: 0, max: 12 }),
      topP: fc.constantFrom(0.05, 0.37, 0.61, 0.93, 1),
      minP: fc.constantFrom(0, 0.013, 0.21),
    });
    const property = fc.asyncProperty(
      fc.array(logit, { minLength: 2, maxLength: 24 }),
      settings,
      async (values, row) => {
        const limit = await threshold(values, row);
        const kept = values.flatMap((value, id) => (value >= limit ? [id] : []));
        expect(kept).toEqual(survivingIds(values, row));
      },
    );
    await fc.assert(property, { numRuns: 300, seed: 20 });
  });
});

describe('sample', () => {
  it('takes the largest for greedy rows, the target where there is one, and nothing without a row', async () => {
    const tensors = {
      logits: f32([4, 4], [0, 2, 2, 1, 5, 1, 1, 1, 1, 1, 9, 1, NaN, 1, 2, 0]),
      thresholds: f32([4], new Array(4).fill(NO_THRESHOLD)),
      samples: samplesTensor([{ row: 0 }, { row: 0, target: 3 }, { row: NONE }, { row: 0 }]),
      rows: rowsTensor([{ temperature: 0 }]),
      sampled: u32([4, 2]),
    };
    const { sampled } = await runOps([draw], tensors, ['sampled']);
    expect(sampled.slice(0, 6)).toEqual([1, live, 3, live, NONE, 0]);
    expect(sampled[6]).toBeLessThan(4);
    expect(sampled[7]).toBe(SAMPLE_LIVE);
  });

  it('never takes what is below the threshold, even at a high temperature', async () => {
    const count = 200;
    const tensors = {
      logits: f32(
        [count, 4],
        Array.from({ length: count * 4 }, (_, i) => i % 4),
      ),
      thresholds: f32([count], new Array(count).fill(2)),
      samples: samplesTensor(Array.from({ length: count }, (_, position) => ({ row: 0, position }))),
      rows: rowsTensor([{ temperature: 100, seed: 9 }]),
      sampled: u32([count, 2]),
    };
    const { sampled } = await runOps([draw], tensors, ['sampled']);
    expect(new Set(sampled.filter((_, i) => i % 2 === 0))).toEqual(new Set([2, 3]));
  });

  it('draws from the softmax: chi-squared over 20,000 positions', async () => {
    const count = 20_000;
    const row = [0.5, -1, 1.5, 0, 0.25];
    const temperature = 0.8;
    const tensors = {
      logits: f32(
        [count, 5],
        Array.from({ length: count * 5 }, (_, i) => row[i % 5]!),
      ),
      thresholds: f32([count], new Array(count).fill(NO_THRESHOLD)),
      samples: samplesTensor(Array.from({ length: count }, (_, position) => ({ row: 0, position }))),
      rows: rowsTensor([{ temperature, seed: 77 }]),
      sampled: u32([count, 2]),
    };
    const { sampled } = await runOps([draw], tensors, ['sampled']);
    const weights = row.map(logit => Math.exp(logit / temperature));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const seen = [0, 0, 0, 0, 0];
    for (let s = 0; s < count; s++) seen[sampled[2 * s]!]!++;
    const chiSquared = weights.reduce((sum, weight, id) => {
      const expected = (count * weight) / total;
      return sum + (seen[id]! - expected) ** 2 / expected;
    }, 0);
    expect(chiSquared).toBeLessThan(18.47); // 4 degrees of freedom, p = 0.001; the seed is fixed
  });

  it('does not depend on the place in the batch', async () => {
    const logits = Array.from({ length: 64 }, (_, i) => Math.sin(i));
    const positions = [3, 8, 21];
    const runs = [positions, [...positions].reverse()].map(async order => {
      const tensors = {
        logits: f32([3, 64], [...logits, ...logits, ...logits]),
        thresholds: f32([3], new Array(3).fill(NO_THRESHOLD)),
        samples: samplesTensor(order.map(position => ({ row: 0, position }))),
        rows: rowsTensor([{ temperature: 2, seed: 5 }]),
        sampled: u32([3, 2]),
      };
      return (await runOps([draw], tensors, ['sampled'])).sampled;
    });
    const [first, second] = await Promise.all(runs);
    expect([0, 2, 4].map(i => first![i])).toEqual([4, 2, 0].map(i => second![i]));
  });
});

describe('argmax', () => {
  it('takes the lowest id among equals, targets, and nothing without a row', async () => {
    const tensors = {
      logits: f32([3, 3], [MASKED_LOGIT, 4, 4, 1, 2, 3, 1, 2, 3]),
      samples: samplesTensor([{ row: 0 }, { row: 0, target: 0 }, { row: NONE }]),
      sampled: u32([3, 2]),
    };
    const op: Op = { op: 'argmax', logits: 'logits', samples: 'samples', sampled: 'sampled' };
    expect((await runOps([op], tensors, ['sampled'])).sampled).toEqual([1, live, 0, live, NONE, 0]);
  });
});

describe('penalties', () => {
  const op: Op = {
    op: 'penalties',
    logits: 'logits',
    samples: 'samples',
    rows: 'rows',
    tokenIds: 'tokenIds',
    out: 'out',
  };

  it('applies repetition to prompt and output, frequency and presence to output', async () => {
    const tensors = {
      logits: f32([2, 6], [4, -4, 1, 1, 1, -1, 4, -4, 1, 1, 1, -1]),
      samples: samplesTensor([
        { row: 1, position: 5 },
        { row: 1, position: 5, target: 2 },
      ]),
      rows: rowsTensor([{}, { repetition: 2, frequency: 0.5, presence: 0.25, promptTokens: 2 }]),
      tokenIds: u32([2, 8], [9, 9, 9, 9, 9, 9, 9, 9, 0, 1, 2, 2, 0, 5, 5, 5]),
      out: f32([2, 6]),
    };
    const { out } = await runOps([op], tensors, ['out']);
    // 0: prompt and once in the output; 1: prompt only; 2: twice in the output; 5: beyond the position.
    expect(out.slice(0, 6)).toEqual([4 / 2 - 0.5 - 0.25, -8, 1 / 2 - 1 - 0.25, 1, 1, -1]);
    expect(out.slice(6)).toEqual([4, -4, 1, 1, 1, -1]);
  });
});

describe('biasLogits', () => {
  const op: Op = {
    op: 'biasLogits',
    logits: 'logits',
    samples: 'samples',
    rows: 'rows',
    biases: 'biases',
    out: 'logits',
  };
  const masked = Math.fround(MASKED_LOGIT);

  it('adds biases, and masks stop ids until there are enough tokens, in place', async () => {
    const row = { numStopIds: 2, numBiases: 1, minTokensUntil: 6 };
    const tensors = {
      logits: f32([4, 4], new Array(16).fill(1)),
      samples: samplesTensor([
        { row: 1, position: 5 },
        { row: 1, position: 6 },
        { row: 1, position: 5, target: 0 },
        { row: NONE },
      ]),
      rows: rowsTensor([{}, row]),
      biases: u32([2, 4], [0, 0, 0, 0, 0, 3, 2, bits(-1.5)]),
    };
    const { logits } = await runOps([op], tensors, ['logits']);
    expect(logits.slice(0, 4)).toEqual([masked, 1, -0.5, masked]);
    expect(logits.slice(4, 8)).toEqual([1, 1, -0.5, 1]);
    expect(logits.slice(8)).toEqual(new Array(8).fill(1));
  });
});

describe('logProbs', () => {
  it('gives the chosen token, its rank, and the largest in order with ties to the lowest id', async () => {
    const logits = [1, 3, 0.5, 3, -2];
    const tensors = {
      logits: f32([2, 5], [...logits, ...logits]),
      samples: samplesTensor([{ row: 0 }, { row: NONE }]),
      sampled: u32([2, 2], [2, live, NONE, 0]),
      logprobs: f32([2, 4], new Array(8).fill(7)),
      logprobIds: u32([2, 5], new Array(10).fill(7)),
    };
    const op: Op = {
      op: 'logProbs',
      logits: 'logits',
      samples: 'samples',
      sampled: 'sampled',
      logprobs: 'logprobs',
      logprobIds: 'logprobIds',
      topN: 3,
    };
    const session = await openSession([op], tensors);
    await session.run();
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
    const found = await session.read('logprobs');
    [0.5, 3, 3, 1].forEach((logit, i) => {
      expect(found[i]).toBeCloseTo(Math.log(Math.exp(logit) / total), 6);
    });
    expect(await session.read('logprobIds')).toEqual([2, 4, 1, 3, 0, 0, 0, 0, 0, 0]);
    expect(found.slice(4)).toEqual([0, 0, 0, 0]);
    await session.device.dispose();
  });
});
