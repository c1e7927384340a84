import { type Signal, useComputed } from '@preact/signals';
import type { StepTrace } from '@quire/core';
import type { RequestView } from '../state/requests.ts';
import type { Session } from '../state/session.ts';
import { type PoolCounts, poolCounts } from '../state/traces.ts';
import { type Surface, useCanvas } from './canvas.ts';

export interface BlockPoolProps {
  readonly session: Session;
  readonly selected: Signal<number | null>;
}

/** Stripes of a shared block; how many hold it is told as a number too. */
const MOST_STRIPES = 4;
const GAP = 3;
/** Pools of servers have thousands of blocks: their tiles touch. */
const MANY = 1024;

interface Owner {
  readonly hue: number;
  readonly number: number;
}

/** Every physical block of the pool: who holds it, how full it is, and what of it is free but still cached. */
export function BlockPool({ session, selected }: BlockPoolProps) {
  const owners = useComputed(() => ownersOf(session.traces.shown.value, id => session.requests.get(id)));
  const canvas = useCanvas(() => {
    const trace = session.traces.shown.value;
    const [holders, lit] = [owners.value, selected.value];
    const idle = session.info.value?.numBlocks ?? 0;
    return surface => drawPool(surface, trace, holders, lit, idle);
  });
  const trace = session.traces.shown.value;
  const counts = poolCounts(trace, session.info.value);
  const layout = () => grid(canvas.current!.clientWidth, canvas.current!.clientHeight, counts.total);
  const pick = ({ offsetX: x, offsetY: y }: PointerEvent) => {
    selected.value = counts.total === 0 ? null : blockAt(x, y, layout(), counts.total);
  };
  const move = (event: KeyboardEvent) => {
    const { columns } = layout();
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
        {selected.value === null || trace === null ? summary(counts) : describe(selected.value, trace, owners.value)}
      </p>
      <ul class="legend" aria-label="Legend">
        <li>
          <i class="key held" /> held, filled as far as it has tokens
        </li>
        <li>
          <i class="key shared" /> shared
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

function ownersOf(trace: StepTrace | null, find: (id: string) => RequestView | undefined): Map<number, Owner[]> {
  const owners = new Map<number, Owner[]>();
  for (const { requestId, blockTable } of trace?.sequences ?? []) {
    const { hue = 0, number = 0 } = find(requestId) ?? {};
    for (const block of blockTable) {
      const list = owners.get(block);
      if (list === undefined) owners.set(block, [{ hue, number }]);
      else list.push({ hue, number });
    }
  }
  return owners;
}

function summary({ total, used, shared, cached }: PoolCounts): string {
  if (total === 0) return 'No engine runs yet.';
  return `${used} held, ${shared} shared, ${cached} free but cached, ${total - used - cached} free`;
}

function describe(block: number, { pool }: StepTrace, owners: ReadonlyMap<number, Owner[]>): string {
  const held = owners.get(block) ?? [];
  const slots = `${pool.filled[block]} of ${pool.blockSize} slots`;
  if (held.length > 0) {
    const numbers = [...new Set(held.map(({ number }) => number))].join(', ');
    const times = held.length > 1 ? `held ${held.length} times, by request ${numbers}` : `held by request ${numbers}`;
    return `Block ${block}: ${times}; ${slots}${pool.cached[block] === 1 ? ', full and cached' : ''}`;
  }
  const place = pool.freeOrder.indexOf(block) + 1;
  const what = pool.cached[block] === 1 ? 'free, its content still cached' : 'free';
  return `Block ${block}: ${what}; ${place} in the order in which free blocks are handed out`;
}

interface Grid {
  readonly columns: number;
  readonly size: number;
  readonly gap: number;
}

/** The largest square tiles that fit. */
function grid(width: number, height: number, count: number): Grid {
  const gap = count > MANY ? 0 : GAP;
  let best: Grid = { columns: count, size: 0, gap };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const size = Math.min((width - gap) / columns, (height - gap) / rows) - gap;
    if (size > best.size) best = { columns, size, gap };
  }
  return best;
}

function blockAt(x: number, y: number, { columns, size, gap }: Grid, count: number): number | null {
  const column = Math.floor((x - gap) / (size + gap));
  const block = 1 + Math.floor((y - gap) / (size + gap)) * columns + column;
  return column >= 0 && column < columns && block >= 1 && block <= count ? block : null;
}

function drawPool(
  surface: Surface,
  trace: StepTrace | null,
  owners: ReadonlyMap<number, Owner[]>,
  lit: number | null,
  idle: number,
): void {
  const count = (trace?.pool.refCounts.length ?? idle) - 1;
  if (count < 1) return;
  const layout = grid(surface.width, surface.height, count);
  const written = new Set(trace?.pool.written);
  const { columns, size, gap } = layout;
  const { context } = surface;
  // Once a frame: a font is parsed and looked up whenever it is set.
  context.font = `${Math.min(11, size / 2.4)}px system-ui, sans-serif`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  for (let block = 1; block <= count; block++) {
    const x = gap + ((block - 1) % columns) * (size + gap);
    const y = gap + Math.floor((block - 1) / columns) * (size + gap);
    drawBlock(surface, x, y, size, {
      block,
      owners: owners.get(block) ?? [],
      fill: trace === null ? 0 : trace.pool.filled[block]! / trace.pool.blockSize,
      isHeld: (trace?.pool.refCounts[block] ?? 0) > 0,
      cached: trace?.pool.cached[block] === 1,
      written: written.has(block),
      lit: lit === block,
    });
  }
}

interface Tile {
  readonly block: number;
  readonly owners: readonly Owner[];
  readonly fill: number;
  /** By any request, also by one that is not known. */
  readonly isHeld: boolean;
  readonly cached: boolean;
  readonly written: boolean;
  readonly lit: boolean;
}

function drawBlock({ context, colour }: Surface, x: number, y: number, size: number, tile: Tile): void {
  context.fillStyle = colour('--free');
  context.fillRect(x, y, size, size);
  const stripes = tile.owners.slice(0, MOST_STRIPES);
  const width = size / Math.max(1, stripes.length);
  const top = y + size * (1 - tile.fill);
  if (stripes.length === 0 && tile.isHeld) {
    context.fillStyle = colour('--cached');
    context.fillRect(x, top, size, size * tile.fill);
  }
  stripes.forEach(({ hue }, i) => {
    // Samples of one request have its colour: their stripes are told apart by their lightness.
    const isSame = i % 2 === 1 && stripes[i - 1]!.hue === hue;
    context.fillStyle = `hsl(${hue} ${colour(isSame ? '--tile-stripe' : '--tile')})`;
    context.fillRect(x + i * width, top, width, size * tile.fill);
  });
  if (!tile.isHeld && tile.cached) outline(context, x, y, size, colour('--cached'), 1.5);
  if (tile.written) outline(context, x, y, size, colour('--written'), 2);
  if (tile.lit) outline(context, x, y, size, colour('--accent'), 3);
  if (size < 16) return;
  context.fillStyle = tile.owners.length > 0 && tile.fill > 0.5 ? colour('--on-tile') : colour('--faint');
  const label = tile.owners.length > 1 ? `${tile.owners.length}x` : (tile.owners[0]?.number ?? tile.block);
  context.fillText(String(label), x + size / 2, y + size / 2);
}

function outline(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  size: number,
  style: string,
  width: number,
): void {
  context.strokeStyle = style;
  context.lineWidth = width;
  context.strokeRect(x + width / 2, y + width / 2, size - width, size - width);
}
