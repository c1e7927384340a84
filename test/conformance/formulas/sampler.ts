import {
  MASKED_LOGIT,
  NO_THRESHOLD,
  NONE,
  type OpOf,
  Row,
  SAMPLE_FINITE,
  SAMPLE_LIVE,
  Sample,
} from '@quire/core/contract';
import { range, sum, type Tensors } from './tensors.ts';

const MASKED = Math.fround(MASKED_LOGIT);

function sampleOf(t: Tensors, samples: string, index: number) {
  const [row, position, target] = [Sample.row, Sample.position, Sample.target].map(word =>
    t.at(samples, index, word),
  ) as [number, number, number];
  return { row, position, target, open: row !== NONE && target === NONE };
}

const logitsOf = (t: Tensors, name: string, index: number) => range(t.shape(name)[1]!).map(id => t.at(name, index, id));

export function penalties(op: OpOf<'penalties'>, t: Tensors): void {
  for (const index of range(t.sizes.samples)) {
    const { row, position, open } = sampleOf(t, op.samples, index);
    const logits = logitsOf(t, op.logits, index);
    const context = open ? range(position).map(i => t.at(op.tokenIds, row, i)) : [];
    const output = context.slice(open ? t.at(op.rows, row, Row.promptTokens) : 0);
    const seen = new Set(context);
    logits.forEach((logit, id) => {
      let value = logit;
      if (open && logit > MASKED) {
        const count = output.filter(other => other === id).length;
        const repetition = t.float(op.rows, row, Row.repetitionPenalty);
        if (seen.has(id)) value *= value > 0 ? 1 / repetition : repetition;
        value -=
          count * t.float(op.rows, row, Row.frequencyPenalty) +
          Math.sign(count) * t.float(op.rows, row, Row.presencePenalty);
      }
      t.set(op.out, value, index, id);
    });
  }
}

export function biasLogits(op: OpOf<'biasLogits'>, t: Tensors): void {
  for (const index of range(t.sizes.samples)) {
    const { row, position, open } = sampleOf(t, op.samples, index);
    const logits = logitsOf(t, op.logits, index);
    if (open) {
      const stops = t.at(op.rows, row, Row.numStopIds);
      for (const i of range(t.at(op.rows, row, Row.numBiases))) {
        logits[t.at(op.biases, row, stops + 2 * i)]! += t.float(op.biases, row, stops + 2 * i + 1);
      }
      const early = position < t.at(op.rows, row, Row.minTokensUntil);
      for (const i of range(early ? stops : 0)) logits[t.at(op.biases, row, i)] = MASKED;
    }
    logits.forEach((logit, id) => void t.set(op.out, logit, index, id));
  }
}

export function maskLogits(op: OpOf<'maskLogits'>, t: Tensors): void {
  for (const index of range(t.sizes.samples)) {
    const { row, open } = sampleOf(t, op.samples, index);
    const masked = open && t.at(op.rows, row, Row.masked) !== 0;
    const allows = (id: number) => Math.floor(t.at(op.masks, row, Math.floor(id / 32)) / 2 ** (id % 32)) % 2 === 1;
    logitsOf(t, op.logits, index).forEach((logit, id) => {
      t.set(op.out, masked && !allows(id) ? MASKED : logit, index, id);
    });
  }
}

export function filterLogits(op: OpOf<'filterLogits'>, t: Tensors): void {
  for (const index of range(t.sizes.samples)) {
    const { row, open } = sampleOf(t, op.samples, index);
    const threshold = open ? survivorThreshold(op, t, row, logitsOf(t, op.logits, index)) : NO_THRESHOLD;
    t.set(op.thresholds, Math.fround(threshold), index);
  }
}

function survivorThreshold(op: OpOf<'filterLogits'>, t: Tensors, row: number, logits: readonly number[]): number {
  const temperature = t.float(op.rows, row, Row.temperature);
  const topK = t.at(op.rows, row, Row.topK);
  const [topP, minP] = [t.float(op.rows, row, Row.topP), t.float(op.rows, row, Row.minP)];
  const idle = (topK === 0 || topK >= logits.length) && topP >= 1 && minP === 0;
  if (temperature === 0 || idle || logits.some(logit => Number.isNaN(logit) || logit === Infinity)) return NO_THRESHOLD;
  const largest = Math.max(...logits);
  const weight = (logit: number) => Math.exp((logit - largest) / temperature);
  const rank = (logit: number) => logits.filter(other => other > logit).length;
  let kept = logits.filter(logit => logit > MASKED || largest <= MASKED);
  kept = kept.filter(logit => weight(logit) >= minP && (topK === 0 || rank(logit) < topK));
  if (topP < 1) {
    const total = sum(kept.map(weight));
    const mass = (logit: number) => Math.floor((weight(logit) / total) * 2 ** 31);
    const needed = topP * sum(kept.map(mass));
    // What lies above a logit that is kept does not reach topP by itself.
    kept = kept.filter(logit => sum(kept.filter(other => other > logit).map(mass)) < needed);
  }
  return Math.min(...kept);
}

export function sampleFormula(gumbel: (seed: readonly [number, number], position: number, id: number) => number) {
  return (op: OpOf<'sample'>, t: Tensors): void => {
    for (const index of range(t.sizes.samples)) {
      const { row, position } = sampleOf(t, op.samples, index);
      const temperature = row === NONE ? 0 : t.float(op.rows, row, Row.temperature);
      const seed =
        row === NONE
          ? ([0, 0] as const)
          : ([t.at(op.rows, row, Row.seedLow), t.at(op.rows, row, Row.seedHigh)] as const);
      const score = (logit: number, id: number) => {
        if (temperature === 0) return logit;
        return logit >= t.at(op.thresholds, index) ? logit / temperature + gumbel(seed, position, id) : -Infinity;
      };
      writeSample(t, op, index, score);
    }
  };
}

export function argmax(op: OpOf<'argmax'>, t: Tensors): void {
  for (const index of range(t.sizes.samples)) writeSample(t, op, index, logit => logit);
}

function writeSample(
  t: Tensors,
  op: { logits: string; samples: string; sampled: string },
  index: number,
  score: (logit: number, id: number) => number,
): void {
  const { row, target } = sampleOf(t, op.samples, index);
  const logits = logitsOf(t, op.logits, index);
  const finite = logits.every(Number.isFinite);
  const scores = logits.map(score);
  const best = finite ? scores.indexOf(Math.max(...scores)) : 0;
  t.set(op.sampled, row === NONE ? NONE : target === NONE ? best : target, index, 0);
  t.set(op.sampled, row === NONE ? 0 : SAMPLE_LIVE | (finite ? SAMPLE_FINITE : 0), index, 1);
}

export function logProbs(op: OpOf<'logProbs'>, t: Tensors): void {
  for (const index of range(t.sizes.samples)) {
    const { row } = sampleOf(t, op.samples, index);
    const logits = logitsOf(t, op.logits, index);
    const largest = Math.max(...logits);
    const total = sum(logits.map(logit => Math.exp(logit - largest)));
    const logProb = (id: number) => (row === NONE ? 0 : logits[id]! - largest - Math.log(total));
    const chosen = row === NONE ? 0 : t.at(op.sampled, index, 0);
    const rank = row === NONE ? 0 : 1 + logits.filter(logit => logit > logits[chosen]!).length;
    const order = range(logits.length).sort((a, b) => logits[b]! - logits[a]! || a - b);
    const top = range(op.topN).map(i => (row === NONE ? 0 : order[i]!));
    [chosen, rank, ...top].forEach((word, i) => void t.set(op.logprobIds, word, index, i));
    [chosen, ...top].forEach((id, i) => void t.set(op.logprobs, logProb(id), index, i));
  }
}
