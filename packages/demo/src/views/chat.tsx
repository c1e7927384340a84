import { type Signal, useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';
import type { EngineInfo } from '../engine/messages.ts';
import { milliseconds, rate } from '../format.ts';
import type { ChatSettings } from '../state/conversation.ts';
import { type RequestView, speedOf } from '../state/requests.ts';
import type { Session } from '../state/session.ts';

/** A conversation with the model, over the same engine. */
export function Chat({ session }: { session: Session }) {
  const { conversation } = session;
  const { turns } = conversation;
  const text = useSignal('');
  const log = useRef<HTMLDivElement>(null);
  session.requests.version.value;
  const isReady = session.status.value.kind === 'ready';
  const running = conversation.isRunning;
  const toEnd = () => requestAnimationFrame(() => log.current?.scrollTo({ top: log.current.scrollHeight }));

  return (
    <main class="chat" id="panel">
      <div class="log" ref={log} aria-live="polite" data-testid="chat-log">
        {turns.value.length === 0 && <p class="empty">{hint(session.info.value)}</p>}
        {turns.value.map(turn => (
          <Exchange key={turn.answer.id} user={turn.user} view={turn.answer} />
        ))}
      </div>
      <form
        class="say"
        onSubmit={event => {
          event.preventDefault();
          const user = text.value.trim();
          if (user === '' || running) return;
          text.value = '';
          conversation.say(user);
          toEnd();
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
          <button type="button" disabled={!running} onClick={() => conversation.stop()}>
            Stop
          </button>
          <button
            type="button"
            disabled={!isReady || running || turns.value.length === 0}
            onClick={() => conversation.again()}
          >
            Again
          </button>
          <button type="button" disabled={running || turns.value.length === 0} onClick={() => conversation.clear()}>
            New chat
          </button>
        </div>
        <p class="phase" data-testid="pace">
          {paceOf(session)}
        </p>
      </form>
      <SamplingSettings settings={conversation.settings} />
    </main>
  );
}

/** Why an answer is slower than the model. */
function paceOf({ kind, pace }: Session): string {
  const { paused, delay } = pace.value;
  if (kind !== 'tab') return '';
  if (paused) return 'The engine is paused: it goes on with the button above.';
  return delay > 0 ? 'Steps are slowed down to be watched: choose "Full" above for the speed of the model.' : '';
}

function hint(info: EngineInfo | null): string {
  if (info?.hasChatTemplate === false) return 'This model has no chat template: it goes on with what is said, as text.';
  if (info?.model !== 'tiny-llama') return 'Say something to the model.';
  return 'Ask for a story about an animal and a thing, a capital, a sum, or a spelling: that is what the bundled model knows.';
}

function Exchange({ user, view }: { user: string; view: RequestView }) {
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

function SamplingSettings({ settings }: { settings: Signal<ChatSettings> }) {
  const current = settings.value;
  const change = (changed: Partial<ChatSettings>) => {
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
