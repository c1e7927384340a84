/**
 * Which way to compute each large linear layer is the fastest on this adapter: timed when a program with the layer is first compiled, and
 * kept for later runs.
 *
 * All kernels of a way add along depth in the same order, and a layer has one way for all numbers of rows. So a row stays independent of
 * its batch, whatever is chosen.
 */
import type { LinearLayer, LinearWay } from './kernel.ts';
import { integerSums } from './kernels/row-tiles.ts';

/** What was chosen before on this adapter. A read or a write that fails costs a measurement, and nothing else. */
export interface KeptChoices {
  read(): Promise<string | undefined>;
  write(text: string): Promise<void>;
}

/** A layer computed in one way, ready to be timed. */
export interface LayerRun {
  /** Computes `rows` rows `times` times over, and waits for the device. */
  run(rows: number, times: number): Promise<void>;
  end(): void;
}

/** Of a layer that is timed: the number of rows of decoding alone, and of a full tile of most kernels. */
const ROWS = [1, 16] as const;
/** Milliseconds that one sample should last, and after how many there is but one of one run each. Compiling is not counted. */
const SAMPLE_MS = 2;
const BUDGET_MS = 200;
const MAX_REPEATS = 64;
const SAMPLES = 3;
/** Times of the first way below which another is chosen: nearer ones may be noise. */
const MARGIN = 0.9;
/** A way that takes so many times the first at one row has lost. */
const HOPELESS = 2;

/** Milliseconds of the budget. */
interface Clock {
  left: number;
}
type Open<L> = (layer: L, way: LinearWay) => Promise<LayerRun>;

export class LinearTuner {
  readonly #ways: readonly [LinearWay, ...LinearWay[]];
  readonly #kept: KeptChoices;
  readonly #now: () => number;
  readonly #choices = new Map<string, LinearWay>();
  #queue: Promise<void>;

  /** `ways`: those that the adapter can compute in, first the one to take where nothing is measured. `now`: milliseconds. */
  constructor(ways: readonly [LinearWay, ...LinearWay[]], kept: KeptChoices, now = () => performance.now()) {
    this.#ways = ways;
    this.#kept = kept;
    this.#now = now;
    this.#queue = ways.length > 1 ? this.#restore() : Promise.resolve();
  }

  way(layer: LinearLayer): LinearWay {
    return this.#choices.get(layerKey(layer)) ?? this.#ways[0];
  }

  /** Chooses for all of `layers` that have no choice yet. `open` throws where a way cannot be had. */
  choose<L extends LinearLayer>(layers: readonly L[], open: Open<L>): Promise<void> {
    if (this.#ways.length === 1) return Promise.resolve();
    this.#queue = this.#queue.then(() => this.#choose(layers, open));
    return this.#queue;
  }

  async #choose<L extends LinearLayer>(layers: readonly L[], open: Open<L>): Promise<void> {
    const clock = { left: BUDGET_MS };
    const before = this.#choices.size;
    for (const layer of layers) {
      if (this.#choices.has(layerKey(layer))) continue;
      const ways = this.#ways.filter(({ sums }) => sums !== 'integers' || integerSums(layer));
      const way = await this.#fastest(ways, way => open(layer, way), clock);
      this.#choices.set(layerKey(layer), way);
    }
    if (this.#choices.size > before) await this.#kept.write(this.#text()).catch(() => {});
  }

  async #fastest(
    ways: readonly LinearWay[],
    open: (way: LinearWay) => Promise<LayerRun>,
    clock: Clock,
  ): Promise<LinearWay> {
    let best: { way: LinearWay; score: number } = { way: this.#ways[0], score: MARGIN };
    let first: readonly number[] | undefined;
    for (const way of ways) {
      const times = await this.#time(() => open(way), clock, first);
      if (times === undefined) continue;
      first ??= times;
      const score = geometricMean(times.map((time, i) => time / first![i]!));
      if (score < best.score) best = { way, score };
    }
    return best.way;
  }

  /** Milliseconds for each of ROWS; undefined where the way cannot be had, or has lost to `first`. */
  async #time(
    open: () => Promise<LayerRun>,
    clock: Clock,
    first: readonly number[] | undefined,
  ): Promise<number[] | undefined> {
    const layerRun = await open().catch(() => undefined);
    if (layerRun === undefined) return undefined;
    try {
      const times: number[] = [];
      for (const rows of ROWS) {
        await layerRun.run(rows, 1);
        times.push(await this.#least(repeats => layerRun.run(rows, repeats), clock));
        if (first !== undefined && times[0]! > HOPELESS * first[0]!) return undefined;
      }
      return times;
    } finally {
      layerRun.end();
    }
  }

  /** Milliseconds of one of several runs in a row. */
  async #least(run: (repeats: number) => Promise<void>, clock: Clock): Promise<number> {
    let [least, repeats] = [Infinity, 1];
    for (let sample = 0; sample === 0 || (sample < SAMPLES && clock.left > 0); sample++) {
      const start = this.#now();
      await run(repeats);
      const spent = this.#now() - start;
      clock.left -= spent;
      least = Math.min(least, spent / repeats);
      // The first run tells how many make a sample.
      if (sample === 0) repeats = Math.max(1, Math.min(MAX_REPEATS, Math.ceil(SAMPLE_MS / Math.max(spent, 1e-3))));
    }
    return least;
  }

  async #restore(): Promise<void> {
    const text = await this.#kept.read().catch(() => undefined);
    for (const [key, name] of Object.entries(parseChoices(text))) {
      const way = this.#ways.find(known => known.name === name);
      if (way !== undefined) this.#choices.set(key, way);
    }
  }

  #text(): string {
    return JSON.stringify(Object.fromEntries([...this.#choices].map(([key, { name }]) => [key, name])), undefined, 1);
  }
}

function layerKey({ op, dtype, columns, depth }: LinearLayer): string {
  return `${op} ${dtype} ${columns}x${depth}`;
}

function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** What is wrong with the text is nobody's concern: it is a cache. */
function parseChoices(text: string | undefined): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text ?? '{}');
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
