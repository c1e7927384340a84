import type { Signal } from '@preact/signals';
import type { StepTrace } from '@quire/core';
import { useMemo } from 'preact/hooks';
import type { Session } from '../state/session.ts';
import { type PoolCounts, poolCounts } from '../state/traces.ts';
import { useCanvas } from './canvas.ts';
import { PoolPainter } from './pool-painter.ts';

export interface BlockPoolProps {
  readonly session: Session;
  readonly selected: Signal<number | null>;
}

/** Every physical block of the pool: who holds it, how full it is, and what of it is free but still cached. */
export function BlockPool({ session, selected }: BlockPoolProps) {
  const { traces, requests } = session;
  const painter = useMemo(() => new PoolPainter(), [session]);
  const numberOf = (id: string) => requests.numberOf(id);
  const canvas = useCanvas(() => {
    const [trace, lit] = [traces.shown.value, selected.value];
    const { total } = poolCounts(trace, session.info.value);
    const view = { trace, lit, numBlocks: total, numberOf };
    return (surface, isBlank) => painter.paint(surface, isBlank, view);
  });
  const trace = traces.shown.value;
  const counts = poolCounts(trace, session.info.value);
  const pick = ({ offsetX: x, offsetY: y }: PointerEvent) => {
    selected.value = painter.blockAt(x, y);
  };
  const move = (event: KeyboardEvent) => {
    const { columns } = painter;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (by === undefined || counts.total === 0) return;
    event.preventDefault();
    event.stopPropagation();
    selected.value = Math.min(counts.total, Math.max(1, (selected.value ?? 1 - by) + by));
  };
  return (
    <section class="pool" aria-label="Block pool">
      <h2>Block pool</h2>
      <canvas
        ref={canvas}
        role="img"
        tabIndex={0}
        aria-describedby="block"
        aria-label={`${counts.used} of ${counts.total} blocks are held, ${counts.shared} of them shared; ${counts.cached} free ones are cached.`}
        data-testid="pool"
        data-used={counts.used}
        data-total={counts.total}
        data-shared={counts.shared}
        data-cached={counts.cached}
        data-copies={(trace?.pool.copies.length ?? 0) / 2}
        onPointerMove={pick}
        onPointerLeave={() => {
          selected.value = null;
        }}
        onKeyDown={move}
        onBlur={() => {
          selected.value = null;
        }}
      />
      <p class="about" id="block" data-testid="block">
        {selected.value === null || trace === null ? summary(counts) : describe(selected.value, trace, numberOf)}
      </p>
      <ul class="legend" aria-label="Legend">
        <li>
          <i class="key held" /> held by the request of that number; filled as far as it has tokens
        </li>
        <li>
          <i class="key shared" /> shared, by so many
        </li>
        <li>
          <i class="key cached" /> free, still cached
        </li>
        <li>
          <i class="key written" /> written in this step
        </li>
      </ul>
    </section>
  );
}

function summary({ total, used, shared, cached }: PoolCounts): string {
  if (total === 0) return 'No engine runs yet.';
  return `${used} held, ${shared} shared, ${cached} free but cached, ${total - used - cached} free`;
}

function describe(block: number, { pool, sequences }: StepTrace, numberOf: (id: string) => number): string {
  const held = sequences.flatMap(({ requestId, blockTable }) =>
    Array.from(
      blockTable.filter(each => each === block),
      () => numberOf(requestId),
    ),
  );
  const slots = `${pool.filled[block]} of ${pool.blockSize} slots`;
  if (held.length > 0) {
    const numbers = [...new Set(held)].join(', ');
    const times = held.length > 1 ? `held ${held.length} times, by request ${numbers}` : `held by request ${numbers}`;
    return `Block ${block}: ${times}; ${slots}${pool.cached[block] === 1 ? ', full and cached' : ''}`;
  }
  const place = pool.freeOrder.indexOf(block) + 1;
  const what = pool.cached[block] === 1 ? 'free, its content still cached' : 'free';
  return `Block ${block}: ${what}; ${place} in the order in which free blocks are handed out`;
}
