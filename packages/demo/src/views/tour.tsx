import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';

interface Stop {
  /** What it is about. */
  readonly at: string;
  readonly title: string;
  readonly text: string;
}

const stops: readonly Stop[] = [
  {
    at: '.scenarios',
    title: 'Something to watch',
    text: 'Each button sends real requests to the engine. Nothing on this page is simulated.',
  },
  {
    at: '.requests',
    title: 'Requests',
    text: 'The numbered tiles under a text are its block table: where, in the pool, its tokens are kept.',
  },
  {
    at: '.pool',
    title: 'Block pool',
    text: 'The KV cache in blocks of 16 tokens. A request takes a block when it needs one, and requests that begin alike share theirs.',
  },
  {
    at: '.timeline',
    title: 'Batches',
    text: 'A column is a step. New requests join, and finished ones leave, at every step: the batch is never waited for.',
  },
  {
    at: '.transport',
    title: 'Your turn',
    text: 'Look back through the steps here. Space pauses; on an engine of your own the right arrow makes one step.',
  },
];

/** Explains the page in five sentences, on the page itself. Arrow keys go through it, Escape leaves. */
export function Tour({ close }: { close: () => void }) {
  const at = useSignal(0);
  const dialog = useRef<HTMLDialogElement>(null);
  const stop = stops[at.value]!;
  const isLast = at.value === stops.length - 1;
  const go = (by: number) => {
    at.value = Math.min(stops.length - 1, Math.max(0, at.value + by));
  };
  useEffect(() => dialog.current!.showModal(), []);
  useEffect(() => {
    const element = document.querySelector(stop.at);
    element?.classList.add('explained');
    element?.scrollIntoView({ block: 'center' });
    return () => element?.classList.remove('explained');
  }, [stop]);
  return (
    <dialog
      ref={dialog}
      class="tour"
      aria-labelledby="tour-title"
      onClose={close}
      onKeyDown={event => {
        if (event.key === 'ArrowRight') go(1);
        if (event.key === 'ArrowLeft') go(-1);
      }}
    >
      <h2 id="tour-title">
        {stop.title} ({at.value + 1} of {stops.length})
      </h2>
      <p aria-live="polite">{stop.text}</p>
      <div class="row">
        <button type="button" disabled={at.value === 0} onClick={() => go(-1)}>
          Back
        </button>
        <button type="button" onClick={() => (isLast ? dialog.current!.close() : go(1))}>
          {isLast ? 'Done' : 'Next'}
        </button>
        {!isLast && (
          <button type="button" onClick={() => dialog.current!.close()}>
            Skip
          </button>
        )}
      </div>
    </dialog>
  );
}
