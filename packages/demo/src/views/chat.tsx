import { type Signal, useSignal } from '@preact/signals';
import type { ChatMessage, SamplingParams } from '@quire/core';
import { useRef } from 'preact/hooks';
import { type RequestView, speedOf } from '../state/requests.ts';
import type { Session } from '../state/session.ts';
import { milliseconds, rate } from './format.ts';

/** A turn of the conversation: what was said, and the request that answers it. */
interface Turn {
  readonly user: string;
  readonly requestId: string;
}

interface Settings {
  readonly system: string;
  readonly temperature: number;
  readonly topP: number;
  readonly maxTokens: number;
  readonly seed: string;
}

/** A conversation with the model, over the same engine. */
export function Chat({ session }: { session: Session }) {
  const turns = useSignal<readonly Turn[]>([]);
  const settings = useSignal<Settings>({ system: '', temperature: 0, topP: 1, maxTokens: 128, seed: '' });
  const text = useSignal('');
  const log = useRef<HTMLDivElement>(null);
  session.requests.version.value;
  const isReady = session.status.value.kind === 'ready';
  const last = turns.value.at(-1);
  const running = last !== undefined && session.requests.get(last.requestId)?.finished === false;

  const ask = (before: readonly Turn[], user: string) => {
    const history = before.flatMap(turn => [
      { role: 'user', content: turn.user },
      { role: 'assistant', content: session.requests.get(turn.requestId)?.completions[0]?.text ?? '' },
    ]);
    const { id } = session.generate(
      { messages: [...systemOf(settings.value), ...history, { role: 'user', content: user }] },
      paramsOf(settings.value),
    );
    turns.value = [...before, { user, requestId: id }];
    requestAnimationFrame(() => log.current?.scrollTo({ top: log.current.scrollHeight }));
  };

  return (
    <main class="chat" id="panel">
      <div class="log" ref={log} aria-live="polite" data-testid="chat-log">
        {turns.value.length === 0 && (
          <p class="empty">
            Ask for a story about an animal and a thing, a capital, a sum, or a spelling: that is what the bundled model
            knows.
          </p>
        )}
        {turns.value.map(turn => (
          <Exchange key={turn.requestId} user={turn.user} view={session.requests.get(turn.requestId)} />
        ))}
      </div>
      <form
        class="say"
        onSubmit={event => {
          event.preventDefault();
          const user = text.value.trim();
          if (user === '' || running) return;
          text.value = '';
          ask(turns.value, user);
        }}
      >
        <textarea
          aria-label="Message"
          rows={2}
          value={text.value}
          disabled={!isReady}
          onInput={event => {
            text.value = event.currentTarget.value;
          }}
          onKeyDown={event => {
            if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            event.currentTarget.form!.requestSubmit();
          }}
        />
        <div class="row">
          <button type="submit" disabled={!isReady || running}>
            Send
          </button>
          <button type="button" disabled={!running} onClick={() => session.abort(last!.requestId)}>
            Stop
          </button>
          <button
            type="button"
            disabled={!isReady || running || last === undefined}
            onClick={() => ask(turns.value.slice(0, -1), last!.user)}
          >
            Again
          </button>
          <button
            type="button"
            disabled={running || turns.value.length === 0}
            onClick={() => {
              turns.value = [];
            }}
          >
            New chat
          </button>
        </div>
      </form>
      <SamplingSettings settings={settings} />
    </main>
  );
}

function systemOf({ system }: Settings): ChatMessage[] {
  return system.trim() === '' ? [] : [{ role: 'system', content: system }];
}

function paramsOf({ temperature, topP, maxTokens, seed }: Settings): SamplingParams {
  return { temperature, topP: temperature === 0 ? 1 : topP, maxTokens, ...(seed === '' ? {} : { seed: Number(seed) }) };
}

function Exchange({ user, view }: { user: string; view: RequestView | undefined }) {
  if (view === undefined) return null;
  const speed = speedOf(view);
  const answer = view.completions[0]!;
  return (
    <>
      <p class="user">{user}</p>
      <div class="assistant">
        <p class="text">{answer.text}</p>
        {view.error !== null && <p class="bad">{view.error}</p>}
        <p class="phase">
          {view.timeToFirstToken === null
            ? 'reading the prompt'
            : `${view.numPromptTokens} prompt tokens in ${milliseconds(view.timeToFirstToken)}, ${rate(view.numPromptTokens / Math.max(1e-3, view.timeToFirstToken / 1000))} tokens/s`}
          {speed !== null && `; ${answer.numTokens} generated, ${rate(speed)} tokens/s`}
          {answer.finishReason === 'length' && '; cut at the limit of tokens'}
          {answer.finishReason === 'abort' && '; stopped'}
        </p>
      </div>
    </>
  );
}

function SamplingSettings({ settings }: { settings: Signal<Settings> }) {
  const current = settings.value;
  const change = (changed: Partial<Settings>) => {
    settings.value = { ...settings.value, ...changed };
  };
  return (
    <details class="settings">
      <summary>Sampling and system prompt</summary>
      <label>
        System prompt
        <textarea rows={2} value={current.system} onInput={event => change({ system: event.currentTarget.value })} />
      </label>
      <Slider
        label="Temperature"
        min={0}
        max={2}
        step={0.1}
        value={current.temperature}
        change={temperature => change({ temperature })}
      />
      <Slider label="Top p" min={0.05} max={1} step={0.05} value={current.topP} change={topP => change({ topP })} />
      <Slider
        label="Most tokens"
        min={8}
        max={384}
        step={8}
        value={current.maxTokens}
        change={maxTokens => change({ maxTokens })}
      />
      <label>
        Seed
        <input
          type="number"
          min={0}
          placeholder="none"
          value={current.seed}
          onInput={event => change({ seed: event.currentTarget.value })}
        />
      </label>
    </details>
  );
}

interface SliderProps {
  readonly label: string;
  readonly min: number;
  readonly max: number;
  readonly step: number;
  readonly value: number;
  readonly change: (value: number) => void;
}

function Slider({ label, value, change, ...range }: SliderProps) {
  return (
    <label>
      {label}
      <input type="range" {...range} value={value} onInput={event => change(Number(event.currentTarget.value))} />
      <output>{value}</output>
    </label>
  );
}
