import { type Activation, NONE, type OpOf, Sequence } from '@quire/core/contract';
import { range, sum, type Tensors } from './tensors.ts';

/** erf by Simpson's rule on its integral. */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  const steps = 400;
  const h = x / steps;
  const f = (i: number) => Math.exp(-((i * h) ** 2));
  const inner = sum(range(steps - 1).map(i => f(i + 1) * (i % 2 === 0 ? 4 : 2)));
  return ((2 / Math.sqrt(Math.PI)) * h * (f(0) + inner + f(steps))) / 3;
}

const logistic = (x: number) => 1 / (1 + Math.exp(-x));
export const activations: Readonly<Record<Activation, (x: number) => number>> = {
  none: x => x,
  relu: x => (x + Math.abs(x)) / 2,
  silu: x => x * logistic(x),
  gelu: x => 0.5 * x * (1 + erf(x * Math.SQRT1_2)),
  // tanh(y) = 2 logistic(2 y) - 1
  geluTanh: x => x * logistic(2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)),
};

export function embed(op: OpOf<'embed'>, t: Tensors): void {
  const [rows, width] = t.shape(op.table) as [number, number];
  for (const token of range(t.sizes.tokens)) {
    const row = t.at(op.ids, token) + op.offset;
    if (row < op.firstRow || row >= op.firstRow + rows) continue;
    for (const column of range(width)) t.set(op.out, t.at(op.table, row - op.firstRow, column), token, column);
  }
}

/** A group of one, whose only rank is 0. */
export function vocabParallelEmbed(op: OpOf<'vocabParallelEmbed'>, t: Tensors): void {
  const [rows, width] = t.shape(op.table) as [number, number];
  for (const token of range(t.sizes.tokens)) {
    const id = t.at(op.ids, token);
    const isHere = id >= op.firstRow && id < op.firstRow + rows;
    if (id < op.rowsPerRank && !isHere) continue;
    for (const column of range(width)) {
      t.set(op.out, isHere ? t.at(op.table, id - op.firstRow, column) : 0, token, column);
    }
  }
}

export function rmsNorm(op: OpOf<'rmsNorm'>, t: Tensors): void {
  const [rows, width] = t.shape(op.x) as [number, number];
  for (const row of range(rows)) {
    const values = range(width).map(column => {
      const value = t.at(op.x, row, column);
      return op.sum === undefined ? value : t.rounded(op.sum, value + t.at(op.residual!, row, column));
    });
    const rms = Math.sqrt(sum(values.map(value => value ** 2)) / width + op.eps);
    values.forEach((value, column) => {
      if (op.sum !== undefined) t.set(op.sum, value, row, column);
      t.set(op.out, (value / rms) * t.at(op.weight, column), row, column);
    });
  }
}

export function layerNorm(op: OpOf<'layerNorm'>, t: Tensors): void {
  const [rows, width] = t.shape(op.x) as [number, number];
  for (const row of range(rows)) {
    const values = range(width).map(column => t.at(op.x, row, column));
    const mean = sum(values) / width;
    const variance = sum(values.map(value => (value - mean) ** 2)) / width;
    values.forEach((value, column) => {
      const normal = (value - mean) / Math.sqrt(variance + op.eps);
      t.set(
        op.out,
        normal * t.at(op.weight, column) + (op.bias === undefined ? 0 : t.at(op.bias, column)),
        row,
        column,
      );
    });
  }
}

export function linear(op: OpOf<'linear'>, t: Tensors): void {
  const [n, k] = t.shape(op.weight) as [number, number];
  for (const row of range(t.shape(op.out)[0]!)) {
    for (const column of range(n)) {
      const dot = sum(range(k).map(i => t.at(op.x, row, i) * t.at(op.weight, column, i)));
      const shifted = dot + (op.bias === undefined ? 0 : t.at(op.bias, column));
      const target = op.outColumn + column;
      const added = op.residual === undefined ? 0 : t.at(op.residual, row, target);
      t.set(op.out, activations[op.activation](shifted) + added, row, target);
    }
  }
}

export function gatedLinear(op: OpOf<'gatedLinear'>, t: Tensors): void {
  const [rows, n] = t.shape(op.out) as [number, number];
  const k = t.shape(op.x)[1]!;
  for (const row of range(rows)) {
    for (const column of range(n)) {
      const [gate, up] = [column, n + column].map(line => {
        const dot = sum(range(k).map(i => t.at(op.x, row, i) * t.at(op.weight, line, i)));
        return dot + (op.bias === undefined ? 0 : t.at(op.bias, line));
      }) as [number, number];
      t.set(op.out, activations[op.activation](gate) * up, row, column);
    }
  }
}

export function moeRoute(op: OpOf<'moeRoute'>, t: Tensors): void {
  const [, count] = t.shape(op.logits) as [number, number];
  const [rows, chosen] = t.shape(op.experts) as [number, number];
  for (const row of range(rows)) {
    const logits = range(count).map(id => t.at(op.logits, row, id));
    // A stable sort keeps the lower of equal ids in front.
    const ids = range(count)
      .sort((a, b) => logits[b]! - logits[a]!)
      .slice(0, chosen);
    const weights = logits.map(logit => Math.exp(logit - Math.max(...logits)));
    const whole = sum(op.normalize ? ids.map(id => weights[id]!) : weights);
    ids.forEach((id, j) => {
      t.set(op.experts, id, row, j);
      t.set(op.shares, weights[id]! / whole, row, j);
    });
  }
}

export function groupedLinear(op: OpOf<'groupedLinear'>, t: Tensors): void {
  const [rows, chosen] = t.shape(op.experts) as [number, number];
  const [weightRows, depth] = t.shape(op.weight) as [number, number];
  const width = t.shape(op.out)[1]!;
  const n = op.shares === undefined ? width / chosen : width;
  const rowsPerExpert = op.shares === undefined ? 2 * n : n;
  const dot = (row: number, block: number, line: number) =>
    sum(range(depth).map(i => t.at(op.x, row, block * depth + i) * t.at(op.weight, line, i)));
  for (const row of range(rows)) {
    const lines = range(chosen).map(j => (t.at(op.experts, row, j) - op.firstExpert) * rowsPerExpert);
    const here = range(chosen).filter(j => lines[j]! >= 0 && lines[j]! < weightRows);
    for (const column of range(n)) {
      if (op.shares === undefined) {
        for (const j of here) {
          const [gate, up] = [0, n].map(at => dot(row, 0, lines[j]! + at + column)) as [number, number];
          t.set(op.out, activations[op.activation](gate) * up, row, j * n + column);
        }
      } else {
        const terms = here.map(j => t.at(op.shares!, row, j) * dot(row, j, lines[j]! + column));
        const residual = op.residual === undefined ? 0 : t.at(op.residual, row, column);
        t.set(op.out, residual + sum(terms), row, column);
      }
    }
  }
}

export function loraLinear(op: OpOf<'loraLinear'>, t: Tensors): void {
  const [slots, columns, rank] = t.shape(op.b) as [number, number, number];
  const depth = t.shape(op.x)[1]!;
  const sliceOf = range(columns).map(column => {
    const ends = op.sliceColumns.map((_, j) => sum(op.sliceColumns.slice(0, j + 1)));
    return ends.findIndex(end => column < end);
  });
  for (const token of range(t.sizes.tokens)) {
    const slot = t.at(op.adapters, token);
    if (slot >= slots) continue;
    const hidden = range(op.sliceColumns.length * rank).map(row =>
      sum(range(depth).map(k => t.at(op.x, token, k) * t.at(op.a, slot, row, k))),
    );
    hidden.forEach((value, row) => void t.set(op.hidden, value, token, row));
    for (const column of range(columns)) {
      const slice = sliceOf[column]!;
      const product = sum(range(rank).map(r => t.at(op.b, slot, column, r) * hidden[slice * rank + r]!));
      t.set(op.out, t.at(op.out, token, column) + t.at(op.scales, slot, slice) * product, token, column);
    }
  }
}

/** Rotation as a product of complex numbers, of heads that are scaled to length sqrt(headDim) first where there are norms. */
export function rope(op: OpOf<'rope'>, t: Tensors): void {
  const half = op.rotaryDim / 2;
  for (const token of range(op.qNorm === undefined ? 0 : t.sizes.tokens)) {
    for (const head of range(op.heads + op.kvHeads)) {
      const columns = range(op.headDim).map(i => head * op.headDim + i);
      const values = columns.map(column => t.at(op.qkv, token, column));
      const length = Math.hypot(...values, Math.sqrt(op.headDim * op.normEps!));
      const weight = head < op.heads ? op.qNorm! : op.kNorm!;
      columns.forEach((column, i) => {
        t.set(op.qkv, (values[i]! * Math.sqrt(op.headDim) * t.at(weight, i)) / length, token, column);
      });
    }
  }
  for (const token of range(t.sizes.tokens)) {
    const position = t.at(op.positions, token);
    for (const head of range(op.heads + op.kvHeads)) {
      for (const i of range(half)) {
        const first = head * op.headDim + (op.interleaved ? 2 * i : i);
        const second = head * op.headDim + (op.interleaved ? 2 * i + 1 : i + half);
        const [re, im] = [t.at(op.qkv, token, first), t.at(op.qkv, token, second)];
        const [cosine, sine] = [t.at(op.table, position, i), t.at(op.table, position, half + i)];
        t.set(op.qkv, re * cosine - im * sine, token, first);
        t.set(op.qkv, re * sine + im * cosine, token, second);
      }
    }
  }
}

export function gatedActivation(op: OpOf<'gatedActivation'>, t: Tensors): void {
  const [rows, width] = t.shape(op.out) as [number, number];
  for (const row of range(rows)) {
    for (const column of range(width)) {
      t.set(op.out, activations[op.activation](t.at(op.x, row, column)) * t.at(op.x, row, width + column), row, column);
    }
  }
}

export function add(op: OpOf<'add'>, t: Tensors): void {
  const [a, b, out] = [t.values(op.a), t.values(op.b), t.values(op.out)];
  for (const i of range(out.length)) out[i] = a[i]! + b[i]!;
}

export function scale(op: OpOf<'scale'>, t: Tensors): void {
  const [x, out] = [t.values(op.x), t.values(op.out)];
  for (const i of range(out.length)) {
    const scaled = op.factor * x[i]!;
    out[i] = op.softCap === 0 ? scaled : op.softCap * Math.tanh(scaled / op.softCap);
  }
}

export function normColumns(op: OpOf<'normColumns'>, t: Tensors): void {
  const [rows] = t.shape(op.x) as [number, number];
  const [width] = t.shape(op.weight) as [number];
  for (const row of range(rows)) {
    const values = range(width).map(i => t.at(op.x, row, op.column + i));
    const rms = Math.sqrt(sum(values.map(value => value ** 2)) / width + op.eps);
    values.forEach((value, i) => {
      t.set(op.x, (value / rms) * t.at(op.weight, i), row, op.column + i);
    });
  }
}

export function pool(op: OpOf<'pool'>, t: Tensors): void {
  const [, width] = t.shape(op.x) as [number, number];
  for (const i of range(t.sizes.sequences)) {
    const word = (name: keyof typeof Sequence) => t.at(op.sequences, i, Sequence[name]);
    if (word('contextLen') === 0) continue;
    const tokens = range(word('queryLen')).map(j => word('queryStart') + j);
    for (const column of range(width)) {
      const before = op.sum && word('firstPosition') > 0 ? t.at(op.out, word('row'), column) : 0;
      const values = (op.sum ? tokens : tokens.slice(-1)).map(token => t.at(op.x, token, column));
      t.set(op.out, before + sum(values), word('row'), column);
    }
  }
}

/** A group of one. */
export function allReduce(op: OpOf<'allReduce'>, t: Tensors): void {
  const [x, out] = [t.values(op.x), t.values(op.out)];
  const residual = op.residual === undefined ? undefined : t.values(op.residual);
  for (const i of range(out.length)) out[i] = x[i]! + (residual?.[i] ?? 0);
}

/** A group of one. */
export function allGather(op: OpOf<'allGather'>, t: Tensors): void {
  const [rows, width] = t.shape(op.x) as [number, number];
  for (const row of range(rows)) for (const column of range(width)) t.set(op.out, t.at(op.x, row, column), row, column);
}

/** What a pipeline of one stage has sent and not received. */
const sent = new WeakMap<Tensors, (number | undefined)[][]>();

export function send(op: OpOf<'send'>, t: Tensors): void {
  sent.set(t, [...(sent.get(t) ?? []), [...t.values(op.x)]]);
}

export function recv(op: OpOf<'recv'>, t: Tensors): void {
  const [first, ...rest] = sent.get(t)!;
  sent.set(t, rest);
  first!.forEach((value, i) => {
    t.values(op.out)[i] = value;
  });
}

export function gatherRows(op: OpOf<'gatherRows'>, t: Tensors): void {
  const [count, width] = t.shape(op.out) as [number, number];
  for (const i of range(count)) {
    for (const column of range(width)) t.set(op.out, t.at(op.x, t.at(op.samples, i, 0), column), i, column);
  }
}

/** Caches are [block][head][slot][dim]; a slot number counts block by block. */
export function kvWrite(op: OpOf<'kvWrite'>, t: Tensors): void {
  for (const token of range(t.sizes.tokens)) {
    const slot = t.at(op.slotMapping, token);
    if (slot === NONE) continue;
    for (const head of range(op.kvHeads)) {
      const place = [Math.floor(slot / op.blockSize), head, slot % op.blockSize];
      const vector = (first: number) =>
        range(op.headDim).map(d => t.at(op.qkv, token, (first + head) * op.headDim + d));
      cacheVector(t, op.kCache, op.kScales, vector(op.heads), place);
      cacheVector(t, op.vCache, op.vScales, vector(op.heads + op.kvHeads), place);
    }
  }
}

/** A vector as it is, or in codes of a scale that makes its largest element the largest code. */
function cacheVector(t: Tensors, cache: string, scales: string | undefined, vector: number[], place: number[]): void {
  const most = t.dtype(cache) === 'i8' ? 127 : 448;
  const scale = Math.fround(Math.max(...vector.map(Math.abs)) / most);
  if (scales !== undefined) t.set(scales, scale, ...place);
  vector.forEach((value, d) => {
    t.set(cache, scales === undefined ? value : value / (scale || 1), ...place, d);
  });
}

/** Turned keys, and values as they are, to the place of their slot. */
export function ropeKvWrite(op: OpOf<'ropeKvWrite'>, t: Tensors): void {
  rope({ ...op, op: 'rope' }, t);
  t.round(op.qkv);
  kvWrite({ ...op, op: 'kvWrite' }, t);
}

export function copyBlocks(op: OpOf<'copyBlocks'>, t: Tensors): void {
  for (const cache of [op.kCache, op.vCache, op.kScales, op.vScales]) {
    if (cache === undefined) continue;
    const before = [...t.values(cache)];
    const block = before.length / t.shape(cache)[0]!;
    for (const pair of range(t.shape(op.pairs)[0]!)) {
      const [from, to] = [t.at(op.pairs, pair, 0), t.at(op.pairs, pair, 1)];
      if (from === NONE || to === NONE) continue;
      for (const i of range(block)) t.values(cache)[to * block + i] = before[from * block + i];
    }
  }
}

export function zeroBlocks(op: OpOf<'zeroBlocks'>, t: Tensors): void {
  for (const cache of [op.kCache, op.vCache, op.kScales, op.vScales]) {
    if (cache === undefined) continue;
    const block = t.values(cache).length / t.shape(cache)[0]!;
    for (const entry of range(t.shape(op.blocks)[0]!)) {
      const target = t.at(op.blocks, entry);
      if (target !== NONE) for (const i of range(block)) t.values(cache)[target * block + i] = 0;
    }
  }
}
