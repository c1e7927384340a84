import { useEffect, useRef } from 'preact/hooks';
import type uPlot from 'uplot';
import type { Session } from '../state/session.ts';

/** Seconds that are shown. */
const SHOWN = 60;
const EVERY = 500;

interface Plot {
  readonly title: string;
  readonly series: readonly { readonly label: string; readonly colour: string }[];
}

const plots: readonly Plot[] = [
  {
    title: 'Tokens per second',
    series: [
      { label: 'decode', colour: '--line-1' },
      { label: 'prefill', colour: '--line-2' },
    ],
  },
  {
    title: 'Latency, ms',
    series: [
      { label: 'first token', colour: '--line-1' },
      { label: 'between tokens', colour: '--line-2' },
    ],
  },
  {
    title: 'Cache, %',
    series: [
      { label: 'blocks held', colour: '--line-1' },
      { label: 'hit rate', colour: '--line-2' },
    ],
  },
];

/** The last minute in numbers. */
export function Speed({ session }: { session: Session }) {
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const history = new History(session);
    let charts: uPlot[] = [];
    let closed = false;
    void import('./plots.ts').then(({ draw }) => {
      if (!closed) charts = plots.map(plot => draw(root.current!, plot));
    });
    const timer = setInterval(() => {
      history.sample();
      for (const [i, chart] of charts.entries()) chart.setData(history.columns(i));
    }, EVERY);
    return () => {
      closed = true;
      clearInterval(timer);
      for (const chart of charts) chart.destroy();
    };
  }, [session]);
  return (
    <section class="speed" aria-label="Speed">
      <h2>Speed</h2>
      <div ref={root} class="plots" data-testid="plots" />
    </section>
  );
}

/** Samples of each plot: time in seconds, then its series. */
class History {
  readonly #session: Session;
  readonly #start = performance.now();
  #samples: (readonly [number, ...(number | null)[]])[] = [];

  constructor(session: Session) {
    this.#session = session;
  }

  sample(): void {
    const { traces, requests } = this.#session;
    const now = (performance.now() - this.#start) / 1000;
    const trace = traces.back(0);
    const { decode, prefill } = requests.numUnfinished > 0 ? traces.rates() : { decode: 0, prefill: 0 };
    const latest = requests.all.filter(view => view.timeToFirstToken !== null).at(-1);
    const gap = traces.interval(40);
    const held = trace === undefined ? 0 : usedShare(trace.pool.refCounts);
    const { prefixCacheHits = 0, prefixCacheQueries = 0 } = trace?.counters ?? {};
    const hits = prefixCacheQueries === 0 ? 0 : (100 * prefixCacheHits) / prefixCacheQueries;
    this.#samples.push([now, decode, prefill, latest?.timeToFirstToken ?? null, gap, held, hits]);
    this.#samples = this.#samples.filter(([time]) => now - time <= SHOWN);
  }

  columns(plot: number): uPlot.AlignedData {
    const column = (index: number) => this.#samples.map(sample => sample[index] ?? null);
    return [column(0) as number[], column(1 + 2 * plot), column(2 + 2 * plot)];
  }
}

function usedShare(refCounts: Uint16Array): number {
  return (100 * refCounts.reduce((sum, count) => sum + (count > 0 ? 1 : 0), 0)) / Math.max(1, refCounts.length - 1);
}
