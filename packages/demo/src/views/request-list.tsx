import type { Signal } from '@preact/signals';
import type { SequenceTrace, StepTrace } from '@quire/core';
import { milliseconds, rate } from '../format.ts';
import { type RequestView, speedOf } from '../state/requests.ts';
import type { Session } from '../state/session.ts';
import { Icon } from './icons.tsx';

export interface RequestListProps {
  readonly session: Session;
  /** The block that the pointer is on, or null. */
  readonly selected: Signal<number | null>;
}

/** One card per request: its text, how far it is, and its block tables. */
export function RequestList({ session, selected }: RequestListProps) {
  session.requests.version.value;
  const trace = session.traces.shown.value;
  const sequences = byRequest(trace);
  return (
    <section class="requests" aria-label="Requests">
      <h2>Requests</h2>
      {session.requests.all.length === 0 && <p class="empty">No requests yet.</p>}
      {session.requests.placed.map((view, place) => {
        const own = sequences.get(view.id) ?? NOTHING;
        const phase = phaseOf(view, own);
        const still = phase.status === 'finished' || phase.status === 'waiting';
        return (
          // A place keeps its element: another request there moves nothing. Properties of one that rests stay the same.
          <Card
            key={place}
            session={session}
            view={view}
            status={phase.status}
            words={phase.words}
            sequences={still ? NOTHING : own}
            trace={still ? null : trace}
            selected={selected}
          />
        );
      })}
    </section>
  );
}

function byRequest(trace: StepTrace | null): Map<string, SequenceTrace[]> {
  const found = new Map<string, SequenceTrace[]>();
  for (const sequence of trace?.sequences ?? []) {
    const list = found.get(sequence.requestId);
    if (list === undefined) found.set(sequence.requestId, [sequence]);
    else list.push(sequence);
  }
  return found;
}

const NOTHING: readonly SequenceTrace[] = [];

interface CardProps {
  readonly session: Session;
  readonly view: RequestView;
  readonly status: string;
  /** What it does now. */
  readonly words: string;
  readonly sequences: readonly SequenceTrace[];
  readonly trace: StepTrace | null;
  readonly selected: Signal<number | null>;
}

function Card({ session, view, status, words, sequences, trace, selected }: CardProps) {
  const speed = speedOf(view);
  const blockSize = session.info.value?.blockSize ?? 16;
  return (
    <article class="card" data-status={status} data-request={view.number} style={{ '--hue': String(view.hue) }}>
      <header>
        <span class="number" aria-hidden="true">
          {view.number}
        </span>
        <p class="prompt" title={view.prompt}>
          {view.prompt}
        </p>
        {view.isOwn && !view.finished && (
          <button
            type="button"
            class="icon"
            aria-label={`Cancel request ${view.number}`}
            title="Cancel"
            onClick={() => session.abort(view.id)}
          >
            <Icon name="close" />
          </button>
        )}
      </header>
      <p class="phase">{words}</p>
      <p class="phase">
        <span>{view.timeToFirstToken === null ? '' : `first token ${milliseconds(view.timeToFirstToken)}`}</span>
        <span>{speed === null ? '' : `${rate(speed)} tokens/s`}</span>
      </p>
      {view.error !== null && <p class="bad">{view.error}</p>}
      {view.completions.map((completion, index) => {
        const sequence = sequences.find(each => each.index === index);
        return (
          <div key={index} class="completion">
            <p class="text">{completion.text}</p>
            <BlockTable tiles={tilesOf(sequence, trace)} most={mostBlocks(view, blockSize)} selected={selected} />
          </div>
        );
      })}
    </article>
  );
}

function phaseOf(view: RequestView, sequences: readonly SequenceTrace[]): { status: string; words: string } {
  if (view.error !== null) return { status: 'failed', words: 'refused' };
  if (view.finished) {
    const { finishReason } = view.completions[0]!;
    const tokens = view.completions.reduce((sum, { numTokens }) => sum + numTokens, 0);
    return { status: 'finished', words: `${finishReason === 'abort' ? 'cancelled' : 'done'}, ${tokens} tokens` };
  }
  const first = sequences[0];
  if (first === undefined) return { status: 'waiting', words: 'waiting' };
  if (first.status === 'preempted') return { status: 'preempted', words: 'preempted, to be computed again' };
  if (first.status === 'waiting') return { status: 'waiting', words: 'waiting' };
  const cached = first.numCachedTokens > 0 ? `, ${first.numCachedTokens} cached` : '';
  if (first.numComputed < first.numPromptTokens) {
    return { status: 'prefill', words: `prefill ${first.numComputed}/${first.numPromptTokens}${cached}` };
  }
  const decoded = sequences.reduce((sum, { numTokens, numPromptTokens }) => sum + numTokens - numPromptTokens, 0);
  return { status: 'decode', words: `decode ${decoded}, prompt ${first.numPromptTokens}${cached}` };
}

/** Blocks in the order of positions, `*` after the shared ones: a text, so that a table that stays the same is not drawn again. */
function tilesOf(sequence: SequenceTrace | undefined, trace: StepTrace | null): string {
  if (sequence === undefined || trace === null) return '';
  return Array.from(sequence.blockTable, block => `${block}${trace.pool.refCounts[block]! > 1 ? '*' : ''}`).join(' ');
}

/** Of a completion that grows to its limit; its last token is never written to the cache. */
function mostBlocks({ numPromptTokens, maxTokens }: RequestView, blockSize: number): number {
  return maxTokens === null || numPromptTokens === 0 ? 0 : Math.ceil((numPromptTokens + maxTokens - 1) / blockSize);
}

interface BlockTableProps {
  readonly tiles: string;
  /** Blocks that it may come to. */
  readonly most: number;
  readonly selected: Signal<number | null>;
}

/** Tiles in the order of positions, each with the number of its physical block; those that may still be needed are empty. */
function BlockTable({ tiles, most, selected }: BlockTableProps) {
  const blocks = tiles === '' ? [] : tiles.split(' ');
  return (
    <ol
      class="table"
      aria-label="Block table"
      onPointerOver={({ target }) => {
        const { block } = (target as HTMLElement).dataset;
        selected.value = block === undefined ? null : Number(block);
      }}
      onPointerLeave={() => {
        selected.value = null;
      }}
    >
      {blocks.map(tile => {
        const block = Number.parseInt(tile, 10);
        const kind = tile.endsWith('*') ? 'shared' : '';
        return (
          <li key={block} data-block={block} class={selected.value === block ? `${kind} lit` : kind}>
            {block}
          </li>
        );
      })}
      {Array.from({ length: Math.max(0, most - blocks.length) }, (_, i) => (
        <li key={`to come ${i}`} class="empty" aria-hidden="true" />
      ))}
    </ol>
  );
}
