import { Batch, BatchHeader, NONE, type OpOf, Row, Sample, Sequence } from '@quire/core/contract';
import { range, type Tensors } from './tensors.ts';

const targets = ['rows', 'blockTables', 'tokenIds', 'batch', 'biases'] as const;

export function applyRowDelta(op: OpOf<'applyRowDelta'>, t: Tensors): void {
  for (const segment of range(Math.min(t.at(op.delta, 0), t.sizes.deltaSegments))) {
    const [target, destination, source, length] = range(4).map(i => t.at(op.delta, 4 + 4 * segment + i)) as [
      number,
      number,
      number,
      number,
    ];
    for (const i of range(length)) t.values(op[targets[target]!])[destination + i] = t.at(op.delta, source + i);
  }
}

/** A sequence of the batch with its row's state. */
function sequence(t: Tensors, batch: string, rows: string, index: number) {
  const [row, queryStart, queryLen, sampleStart, sampleCount] = [
    Batch.row,
    Batch.queryStart,
    Batch.queryLen,
    Batch.sampleStart,
    Batch.sampleCount,
  ].map(word => t.at(batch, 1 + index, word)) as [number, number, number, number, number];
  const state = (word: number) => t.at(rows, row, word);
  const end = state(Row.numComputed) + queryLen;
  const known = end <= state(Row.numTokens);
  const granted = end <= state(Row.blockCredit);
  const atEnd = sampleCount > 0 && end === state(Row.numTokens);
  const live = known && granted && !(atEnd && state(Row.numTokens) >= state(Row.tokenLimit));
  return {
    row,
    queryStart,
    queryLen,
    sampleStart,
    sampleCount,
    live,
    first: state(Row.numComputed),
    numTokens: state(Row.numTokens),
  };
}

export function prepareInputs(op: OpOf<'prepareInputs'>, t: Tensors): void {
  t.values(op.inputIds).fill(0);
  t.values(op.positions).fill(0);
  t.values(op.slotMapping).fill(NONE);
  t.values(op.sequences).fill(0);
  for (const index of range(t.at(op.batch, 0, BatchHeader.numSequences))) {
    const s = sequence(t, op.batch, op.rows, index);
    const record: readonly (readonly [number, number])[] = [
      [Sequence.row, s.row],
      [Sequence.queryStart, s.queryStart],
      [Sequence.queryLen, s.queryLen],
      [Sequence.contextLen, s.live ? s.first + s.queryLen : 0],
      [Sequence.sampleStart, s.sampleStart],
      [Sequence.sampleCount, s.sampleCount],
      [Sequence.firstPosition, s.first],
      [Sequence.numTokens, s.numTokens],
    ];
    for (const [word, value] of record) t.set(op.sequences, value, index, word);
    for (const j of range(s.live ? s.queryLen : 0)) {
      const position = s.first + j;
      const block = t.at(op.blockTables, s.row, Math.trunc(position / op.blockSize));
      t.set(op.inputIds, t.at(op.tokenIds, s.row, position), s.queryStart + j);
      t.set(op.positions, position, s.queryStart + j);
      t.set(op.slotMapping, block * op.blockSize + (position % op.blockSize), s.queryStart + j);
    }
  }
  t.set(op.batch, t.at(op.batch, 0, BatchHeader.stepCounter) + 1, 0, BatchHeader.stepCounter);
}

export function prepareSamples(op: OpOf<'prepareSamples'>, t: Tensors): void {
  for (const i of range(t.sizes.samples))
    [0, NONE, 0, NONE].forEach((value, word) => void t.set(op.samples, value, i, word));
  for (const index of range(t.sizes.sequences)) {
    const word = (at: number) => t.at(op.sequences, index, at);
    if (word(Sequence.contextLen) === 0) continue;
    for (const j of range(word(Sequence.sampleCount))) {
      const query = word(Sequence.queryLen) - word(Sequence.sampleCount) + j;
      const position = word(Sequence.firstPosition) + query + 1;
      const sample = word(Sequence.sampleStart) + j;
      t.set(op.samples, word(Sequence.queryStart) + query, sample, Sample.token);
      t.set(op.samples, word(Sequence.row), sample, Sample.row);
      t.set(op.samples, position, sample, Sample.position);
      const target = position < word(Sequence.numTokens) ? t.at(op.tokenIds, word(Sequence.row), position) : NONE;
      t.set(op.samples, target, sample, Sample.target);
    }
  }
}

export function prepareAdapters(op: OpOf<'prepareAdapters'>, t: Tensors): void {
  for (const token of range(t.sizes.tokens)) t.set(op.adapters, NONE, token);
  for (const index of range(t.sizes.sequences)) {
    const word = (at: number) => t.at(op.sequences, index, at);
    if (word(Sequence.contextLen) === 0) continue;
    const adapter = t.at(op.rows, word(Sequence.row), Row.adapter);
    for (const i of range(word(Sequence.queryLen))) t.set(op.adapters, adapter, word(Sequence.queryStart) + i);
  }
}

export function advanceRows(op: OpOf<'advanceRows'>, t: Tensors): void {
  const slot = (t.at(op.batch, 0, BatchHeader.stepCounter) - 1) % t.shape(op.ring)[0]!;
  for (const index of range(t.sizes.sequences)) {
    const word = (at: number) => t.at(op.sequences, index, at);
    const row = word(Sequence.row);
    const live = word(Sequence.contextLen) > 0;
    const last = word(Sequence.sampleStart) + word(Sequence.sampleCount) - 1;
    const samples = word(Sequence.sampleCount) > 0;
    if (live) t.set(op.rows, t.at(op.rows, row, Row.numComputed) + word(Sequence.queryLen), row, Row.numComputed);
    if (live && samples && t.at(op.samples, last, Sample.target) === NONE) {
      const numTokens = t.at(op.rows, row, Row.numTokens);
      t.set(op.tokenIds, t.at(op.sampled, last, 0), row, numTokens);
      t.set(op.rows, numTokens + 1, row, Row.numTokens);
    }
    if (samples) {
      t.set(op.ring, live ? t.at(op.sampled, last, 0) : NONE, slot, row, 0);
      t.set(op.ring, live ? t.at(op.sampled, last, 1) : 0, slot, row, 1);
    }
  }
}
