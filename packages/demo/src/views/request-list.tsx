import type { Signal } from '@preact/signals';
import type { SequenceTrace, StepTrace } from '@quire/core';
import { type RequestView, speedOf } from '../state/requests.ts';
import type { Session } from '../state/session.ts';
import { milliseconds, rate } from './format.ts';
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
  const order = (view: RequestView) => (view.finished ? 1 : 0);
  const views = session.requests.all.sort(
    (a, b) => order(a) - order(b) || (a.finished ? b.number - a.number : a.number - b.number),
  );
  return (
    <section class="requests" aria-label="Requests">
      <h2>Requests</h2>
      {views.length === 0 && <p class="empty">No requests yet.</p>}
      {views.map(view => (
        <Card
          key={view.id}
          view={view}
          sequences={sequences.get(view.id) ?? []}
          trace={trace}
          selected={selected}
          abort={() => session.abort(view.id)}
        />
      ))}
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

interface CardProps {
  readonly view: RequestView;
  readonly sequences: readonly SequenceTrace[];
  readonly trace: StepTrace | null;
  readonly selected: Signal<number | null>;
  readonly abort: () => void;
}

function Card({ view, sequences, trace, selected, abort }: CardProps) {
  const phase = phaseOf(view, sequences);
  const speed = speedOf(view);
  return (
    <article class="card" data-status={phase.status} data-request={view.number} style={{ '--hue': String(view.hue) }}>
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
            onClick={abort}
          >
            <Icon name="close" />
          </button>
        )}
      </header>
      <p class="phase">
        <span>{phase.words}</span>
        <span>{view.timeToFirstToken === null ? '' : `first token ${milliseconds(view.timeToFirstToken)}`}</span>
        <span>{speed === null ? '' : `${rate(speed)} tokens/s`}</span>
      </p>
      {view.error !== null && <p class="bad">{view.error}</p>}
      {view.completions.map((completion, index) => {
        const sequence = sequences.find(each => each.index === index);
        return (
          <div key={index} class="completion">
            <p class="text">{completion.text}</p>
            {sequence !== undefined && trace !== null && (
              <BlockTable sequence={sequence} trace={trace} selected={selected} />
            )}
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

/** Tiles in the order of positions, each with the number of its physical block. */
function BlockTable({
  sequence,
  trace,
  selected,
}: {
  sequence: SequenceTrace;
  trace: StepTrace;
  selected: Signal<number | null>;
}) {
  const { pool } = trace;
  return (
    <ol class="table" aria-label="Block table">
      {Array.from(sequence.blockTable, block => (
        <li
          key={block}
          data-block={block}
          class={`${pool.refCounts[block]! > 1 ? 'shared' : ''} ${selected.value === block ? 'lit' : ''}`}
          onPointerEnter={() => {
            selected.value = block;
          }}
          onPointerLeave={() => {
            selected.value = null;
          }}
        >
          {block}
        </li>
      ))}
    </ol>
  );
}
