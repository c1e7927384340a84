/**
 * Same seed, same logits, same token on every device. 10,000 tokens with QUIRE_LONG_TESTS=1, some of them otherwise. At most
 * one in 10,000 may differ between two devices, and only where f32 cannot tell: where two perturbed logits, or a top-p edge,
 * are closer than 1e-5. Those are printed.
 */
import { NO_THRESHOLD } from '@quire/core/contract';
import { expect, it } from 'vitest';
import { gumbel, philox4x32 } from '../conformance/src/noise.ts';
import { Random } from '../conformance/src/random.ts';
import { openTestDevice, requiredDevices } from '../support/devices.ts';
import { SamplerOnDevice, type SamplerRowInput } from '../support/sampler-device.ts';

const IS_LONG = process.env.QUIRE_LONG_TESTS === '1';
const COUNT = IS_LONG ? 10_000 : 600;
const BATCH = 100;
const VOCABULARY = 997;
const CLOSE = 1e-5;

const names = requiredDevices();
const random = new Random(20_261_127);
const seedOf = () => (BigInt(random.word()) << 32n) | BigInt(random.word());

/** What every kind of filter leaves, in turn. */
function randomRow(i: number): SamplerRowInput {
  return {
    logits: Float32Array.from({ length: VOCABULARY }, () => random.normal() * 3),
    temperature: random.pick([0.3, 0.7, 1, 1.5]),
    topK: i % 3 === 0 ? random.integer(1, 60) : 0,
    topP: i % 2 === 0 ? 0.5 + random.uniform() / 2 : 1,
    minP: i % 5 === 0 ? random.uniform() / 10 : 0,
    seed: seedOf(),
    position: random.integer(1, 100_000),
  };
}

async function sampleOn(rows: readonly SamplerRowInput[], name: (typeof names)[number]) {
  const device = await openTestDevice(name);
  const sampler = new SamplerOnDevice(device, BATCH, rows[0]!.logits.length);
  const tokens = new Uint32Array(rows.length);
  const thresholds = new Float32Array(rows.length);
  for (let start = 0; start < rows.length; start += BATCH) {
    const outputs = await sampler.run(rows.slice(start, start + BATCH));
    for (let i = 0; i < BATCH; i++) tokens[start + i] = outputs.sampled[2 * i]!;
    thresholds.set(outputs.thresholds, start);
  }
  sampler.dispose();
  return { tokens, thresholds };
}

const keyOf = (seed: bigint) => [Number(seed & 0xffffffffn), Number(seed >> 32n)] as [number, number];

/** How far apart the perturbed logits of two tokens are, in f64. */
function perturbedGap(row: SamplerRowInput, a: number, b: number): number {
  const score = (id: number) => row.logits[id]! / row.temperature + gumbel(keyOf(row.seed), row.position!, id).value;
  return Math.abs(score(a) - score(b));
}

/** How far the probability above a threshold is from top-p, after min-p and top-k; infinity where top-p is off. */
function edgeDistance(
  { logits, temperature, topK = 0, topP = 1, minP = 0 }: SamplerRowInput,
  threshold: number,
): number {
  if (topP >= 1 || threshold === Math.fround(NO_THRESHOLD)) return Number.POSITIVE_INFINITY;
  const sorted = Float64Array.from(logits).sort().reverse();
  const weights = sorted.map(logit => Math.exp((logit - sorted[0]!) / temperature));
  const kept = weights.filter((weight, i) => weight >= minP && (topK === 0 || i < topK));
  const total = kept.reduce((sum, weight) => sum + weight, 0);
  let closest = Number.POSITIVE_INFINITY;
  let cumulative = 0;
  for (const weight of kept) {
    cumulative += weight / total;
    closest = Math.min(closest, Math.abs(cumulative - topP));
  }
  return closest;
}

it(`${COUNT} sampled tokens agree on ${names.join(', ')}`, { timeout: 1_800_000 }, async () => {
  expect(names.length).toBeGreaterThan(1);
  const rows = Array.from({ length: COUNT }, (_, i) => randomRow(i));
  const runs = new Map<string, Awaited<ReturnType<typeof sampleOn>>>();
  for (const name of names) runs.set(name, await sampleOn(rows, name));
  expect(new Set(runs.get(names[0]!)!.tokens).size).toBeGreaterThan(100);
  for (const [i, a] of names.entries()) {
    for (const b of names.slice(i + 1)) {
      const [first, second] = [runs.get(a)!, runs.get(b)!];
      const different = rows.flatMap((row, at) => {
        const [x, y] = [first.tokens[at]!, second.tokens[at]!];
        if (x === y) return [];
        const [gap, edge] = [perturbedGap(row, x, y), edgeDistance(row, first.thresholds[at]!)];
        console.log(`${a} and ${b} differ in sample ${at}: ${x} and ${y}, perturbed gap ${gap}, top-p edge ${edge}`);
        return [Math.min(gap, edge)];
      });
      console.log(`${a} and ${b}: ${different.length} of ${COUNT} tokens differ`);
      expect(different.length).toBeLessThanOrEqual(1);
      for (const distance of different) expect(distance).toBeLessThan(CLOSE);
    }
  }
});

/** Under equal logits the smallest random word wins, so the winners tell the integers of each device. */
it.each(names)('the random integers on %s are those of Philox 4x32-10', async name => {
  const width = 64;
  const count = IS_LONG ? 10_000 : 1000;
  const rows = Array.from({ length: count }, (): SamplerRowInput => {
    const logits = new Float32Array(width);
    return { logits, temperature: 1, seed: seedOf(), position: random.integer(0, 2 ** 31) };
  });
  const { tokens } = await sampleOn(rows, name);
  let compared = 0;
  rows.forEach(({ seed, position }, i) => {
    const words = Array.from({ length: width / 4 }, (_, block) =>
      philox4x32([block, position!, 0, 0], keyOf(seed)),
    ).flat();
    const [smallest, next] = [...words].sort((x, y) => x - y) as [number, number];
    // Closer than f32 tells apart, their noise may be equal, and the lower id wins.
    if (next - smallest < CLOSE * next) return;
    compared++;
    expect(tokens[i]).toBe(words.indexOf(smallest));
  });
  expect(compared).toBeGreaterThan(0.99 * count);
});
