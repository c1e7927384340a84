import { type Signal, useSignal } from '@preact/signals';
import type { EngineSettings } from '../engine/messages.ts';
import { milliseconds } from '../format.ts';
import { readRecording } from '../state/recording.ts';
import { type Batching, scenarios } from '../state/scenarios.ts';
import type { Session } from '../state/session.ts';

export interface ScenarioRun {
  readonly id: string;
  readonly abort: AbortController;
  readonly running: boolean;
  /** Milliseconds that this scenario took. */
  readonly times: Partial<Record<Batching, number>>;
}

export interface ScenariosProps {
  readonly session: Session;
  readonly run: Signal<ScenarioRun | null>;
  readonly batching: Signal<Batching>;
  readonly start: (id: string) => void;
  /** Explains the page. */
  readonly tour: () => void;
  readonly settings: EngineSettings;
  /** Loads the engine again with another pool. */
  readonly resize: (numBlocks: number) => void;
}

/** What to watch, and how. */
export function Scenarios({ session, run, batching, start, tour, settings, resize }: ScenariosProps) {
  const isReady = session.status.value.kind === 'ready';
  const current = scenarios.find(({ id }) => id === run.value?.id);
  return (
    <section class="scenarios" aria-label="Scenarios">
      <div class="row">
        {scenarios.map(({ id, title }) => (
          <button
            key={id}
            type="button"
            aria-pressed={current?.id === id}
            disabled={!isReady}
            onClick={() => start(id)}
          >
            {title}
          </button>
        ))}
        <OwnPrompt session={session} disabled={!isReady} />
      </div>
      <p class="look" data-testid="look">
        {current?.look ??
          'Choose what to watch. Everything here is the real engine: each tile is a block of its KV cache, each column a step.'}
      </p>
      <div class="row small">
        <button type="button" onClick={tour}>
          What is what?
        </button>
        <Batches batching={batching} />
        {session.kind === 'tab' && <Pool settings={settings} resize={resize} />}
        <TraceFile session={session} />
        {session.info.value?.deviceKind === 'webgpu' && session.kind === 'tab' && (
          <button
            type="button"
            disabled={!isReady}
            title="Destroys the GPU device under the running engine"
            onClick={() => session.loseDevice()}
          >
            Lose the GPU
          </button>
        )}
        <Times run={run.value} />
      </div>
    </section>
  );
}

function Pool({ settings, resize }: Pick<ScenariosProps, 'settings' | 'resize'>) {
  return (
    <label>
      Pool
      <select value={String(settings.numBlocks)} onChange={event => resize(Number(event.currentTarget.value))}>
        {[40, 64, 96, 128, 256].map(blocks => (
          <option key={blocks} value={String(blocks)}>
            {blocks} blocks
          </option>
        ))}
      </select>
    </label>
  );
}

/** Continuous batching, or the older way for contrast. */
function Batches({ batching }: { batching: Signal<Batching> }) {
  return (
    <label>
      Batching
      <select
        value={batching.value}
        onChange={event => {
          batching.value = event.currentTarget.value as Batching;
        }}
      >
        <option value="continuous">continuous</option>
        <option value="static">static, for contrast</option>
      </select>
    </label>
  );
}

function Times({ run }: { run: ScenarioRun | null }) {
  const { continuous, static: batch } = run?.times ?? {};
  const took = [
    ...(continuous === undefined ? [] : [`continuous took ${milliseconds(continuous)}`]),
    ...(batch === undefined ? [] : [`static took ${milliseconds(batch)}`]),
  ];
  return (
    <output class="times" data-testid="took" data-running={run?.running ?? false}>
      {took.join(', ')}
    </output>
  );
}

function OwnPrompt({ session, disabled }: { session: Session; disabled: boolean }) {
  const text = useSignal('');
  return (
    <form
      class="own"
      onSubmit={event => {
        event.preventDefault();
        const content = text.value.trim();
        if (content === '') return;
        session.generate({ messages: [{ role: 'user', content }] }, { temperature: 0, maxTokens: 96 });
        text.value = '';
      }}
    >
      <input
        type="text"
        aria-label="Your own prompt"
        placeholder="Your own prompt"
        value={text.value}
        disabled={disabled}
        onInput={event => {
          text.value = event.currentTarget.value;
        }}
      />
      <button type="submit" disabled={disabled}>
        Send
      </button>
    </form>
  );
}

/** Saves what was seen, and shows what was saved: also where there is no GPU. */
function TraceFile({ session }: { session: Session }) {
  const error = useSignal<string | null>(null);
  const save = () => {
    const info = session.info.value;
    if (info === null) return;
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([session.recorder.save(info)], { type: 'application/json' }));
    link.download = 'quire-trace.json';
    link.click();
    URL.revokeObjectURL(link.href);
  };
  const open = async (file: File | undefined) => {
    if (file === undefined) return;
    error.value = null;
    try {
      session.replay(readRecording(await file.text()));
    } catch (cause) {
      error.value = cause instanceof Error ? cause.message : String(cause);
    }
  };
  return (
    <>
      <button type="button" disabled={session.traces.length === 0} onClick={save}>
        Save trace
      </button>
      <label class="file">
        Replay trace
        <input type="file" accept="application/json" onChange={event => void open(event.currentTarget.files?.[0])} />
      </label>
      {error.value !== null && (
        <span class="bad" role="alert">
          {error.value}
        </span>
      )}
    </>
  );
}
