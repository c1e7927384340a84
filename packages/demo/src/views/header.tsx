import { percent, rate } from '../format.ts';
import type { Session } from '../state/session.ts';
import { poolCounts } from '../state/traces.ts';
import { Icon } from './icons.tsx';

/** Milliseconds between steps. */
const speeds = { Slow: 400, Watch: 60, Full: 0 } as const;

/** What the engine is, how fast it goes, and the controls of its steps. */
export function Header({ session }: { session: Session }) {
  const info = session.info.value;
  const status = session.status.value;
  return (
    <header class="bar" data-status={status.kind}>
      <div class="brand">
        <h1>Quire</h1>
        <p title={info === null ? '' : `${info.architecture ?? info.deviceKind} on ${info.deviceName}`}>
          {info === null ? 'a paged-attention engine, and its pages' : `${info.model} on ${info.deviceName}`}
        </p>
      </div>
      <Figures session={session} />
      <Transport session={session} />
      {status.kind === 'loading' && (
        <progress
          max={status.total ?? 1}
          {...(status.total === null ? {} : { value: status.loaded })}
          aria-label="Loading"
        />
      )}
    </header>
  );
}

function Figures({ session }: { session: Session }) {
  const trace = session.traces.shown.value;
  const { used, total } = poolCounts(trace, session.info.value);
  const { decode, prefill } = session.traces.rates();
  const { prefixCacheHits = 0, prefixCacheQueries = 0, preemptions = 0 } = trace?.counters ?? {};
  return (
    <dl class="figures" data-testid="figures">
      <Figure name="step" value={String(trace?.step ?? 0)} title="Steps since the engine started" />
      <Figure name="tokens/s" value={rate(decode)} title="Generated tokens per second, over two seconds" />
      <Figure name="prefill/s" value={rate(prefill)} title="Prompt tokens computed per second, over two seconds" />
      <Figure name="blocks" value={`${used}/${total}`} title="KV blocks that requests hold" />
      <Figure
        name="hit rate"
        value={percent(prefixCacheQueries === 0 ? 0 : prefixCacheHits / prefixCacheQueries)}
        title="Share of prompt tokens found in the prefix cache"
      />
      <Figure name="preempted" value={String(preemptions)} title="Times that a request gave its blocks to older ones" />
    </dl>
  );
}

function Figure({ name, value, title }: { name: string; value: string; title: string }) {
  return (
    <div title={title}>
      <dt>{name}</dt>
      <dd data-figure={name}>{value}</dd>
    </div>
  );
}

function Transport({ session }: { session: Session }) {
  const { traces } = session;
  const isHeld = session.isHeld;
  const last = traces.length - 1;
  const at = traces.scrubbed.value ?? last;
  return (
    <fieldset class="transport" aria-label="Steps of the engine">
      <button
        type="button"
        class="icon"
        title={isHeld ? 'Go on (space)' : 'Pause (space)'}
        aria-label={isHeld ? 'Go on' : 'Pause'}
        onClick={() => session.togglePause()}
      >
        <Icon name={isHeld ? 'play' : 'pause'} />
      </button>
      {session.kind === 'tab' && <Steps session={session} />}
      <input
        type="range"
        aria-label="Look back"
        title="Look back through the last steps"
        min={0}
        max={Math.max(0, last)}
        value={Math.max(0, at)}
        disabled={last < 1}
        onInput={event => session.lookAt(Number(event.currentTarget.value))}
      />
    </fieldset>
  );
}

/** The pace of an engine that is this page's alone. */
function Steps({ session }: { session: Session }) {
  const pace = session.pace.value;
  return (
    <>
      <button
        type="button"
        class="icon"
        title="One step (right arrow)"
        aria-label="One step"
        disabled={!pace.paused}
        onClick={() => session.step()}
      >
        <Icon name="step" />
      </button>
      <select
        aria-label="Speed"
        value={String(pace.delay)}
        onChange={event => session.setPace({ ...pace, delay: Number(event.currentTarget.value) })}
      >
        {Object.entries(speeds).map(([name, delay]) => (
          <option key={name} value={String(delay)}>
            {name}
          </option>
        ))}
      </select>
    </>
  );
}
