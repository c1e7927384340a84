/** Each stage of the sampler, and their order, against vectors that test/oracles/sampler_vectors.py computed by sorting. */
import { readFileSync } from 'node:fs';
import { MASKED_LOGIT } from '@quire/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { philox4x32 } from '../conformance/src/noise.ts';
import { openTestDevice, requiredDevices } from '../support/devices.ts';
import { SamplerOnDevice, type SamplerOutputs, type SamplerRowInput, TOP_N } from '../support/sampler-device.ts';

interface Vector {
  name: string;
  logits: number[];
  prompt: number[];
  output: number[];
  row: Omit<SamplerRowInput, 'logits' | 'prompt' | 'output' | 'seed'> & { seed: string };
  masked: number[] | null;
  biased: number[] | null;
  processed: number[] | null;
  kept: number[];
  keptInOtherOrder: number[] | null;
  token: number;
  greedy: number;
  logprobs: { chosen: number; rank: number; topIds: number[]; top: number[] };
}

const file = new URL('../fixtures/sampler/vectors.json', import.meta.url);
const vectors = JSON.parse(readFileSync(file, 'utf8')) as {
  cases: Vector[];
  philox: { counter: number[]; key: number[]; words: number[] }[];
};
const vocabularies = [...new Set(vectors.cases.map(({ logits }) => logits.length))];
const input = ({ logits, prompt, output, row }: Vector): SamplerRowInput => ({
  ...row,
  logits,
  prompt,
  output,
  seed: BigInt(row.seed),
});

describe.each(requiredDevices())('the sampler on %s', name => {
  const runs = new Map<number, { cases: Vector[]; outputs: SamplerOutputs }>();
  beforeAll(async () => {
    const device = await openTestDevice(name);
    for (const vocabulary of vocabularies) {
      const cases = vectors.cases.filter(({ logits }) => logits.length === vocabulary);
      const sampler = new SamplerOnDevice(device, cases.length, vocabulary);
      runs.set(vocabulary, { cases, outputs: await sampler.run(cases.map(input)) });
      sampler.dispose();
    }
  });

  it.each(vectors.cases.map(vector => [vector.name, vector.logits.length, vector] as const))(
    '%s (%i)',
    (_, vocabulary, vector) => {
      const { cases, outputs } = runs.get(vocabulary)!;
      const i = cases.indexOf(vector);
      const rowOf = (values: Float32Array) => values.subarray(i * vocabulary, (i + 1) * vocabulary);
      let expected = vector.logits;
      for (const stage of ['masked', 'biased', 'processed'] as const) {
        expected = vector[stage] ?? expected;
        rowOf(outputs[stage]).forEach((logit, id) => {
          const want = expected[id]!;
          if (want <= MASKED_LOGIT) expect(logit, `${stage} ${id}`).toBe(Math.fround(MASKED_LOGIT));
          else expect(Math.abs(logit - want), `${stage} ${id}`).toBeLessThanOrEqual(1e-5 + 1e-6 * Math.abs(want));
        });
      }
      const processed = rowOf(outputs.processed);
      const kept = Array.from(processed.keys()).filter(
        id => processed[id]! >= outputs.thresholds[i]! && processed[id]! > Math.fround(MASKED_LOGIT),
      );
      expect(kept).toEqual(vector.kept);
      if (vector.keptInOtherOrder !== null) expect(kept).not.toEqual(vector.keptInOtherOrder);
      expect([outputs.sampled[2 * i], outputs.greedy[2 * i]]).toEqual([vector.token, vector.greedy]);
      expectLogprobs(vector, i, outputs);
    },
  );
});

/** Those of the model's own logits, before any stage. */
function expectLogprobs({ token, logprobs }: Vector, i: number, outputs: SamplerOutputs): void {
  const ids = outputs.logprobIds.subarray(i * (2 + TOP_N), (i + 1) * (2 + TOP_N));
  expect([...ids]).toEqual([token, logprobs.rank, ...logprobs.topIds]);
  const values = outputs.logprobs.subarray(i * (1 + TOP_N), (i + 1) * (1 + TOP_N));
  [logprobs.chosen, ...logprobs.top].forEach((expected, k) => {
    expect(values[k]).toBeCloseTo(expected, 4);
  });
}

it('the random integers of the suite are those of the oracle', () => {
  for (const { counter, key, words } of vectors.philox) expect(philox4x32(counter, key)).toEqual(words);
});

it('the order of top-k and top-p is told apart', () => {
  expect(vectors.cases.filter(({ keptInOtherOrder }) => keptInOtherOrder !== null).length).toBeGreaterThanOrEqual(4);
});
