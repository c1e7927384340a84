import { useSignal } from '@preact/signals';
import { bytes } from '../format.ts';
import type { Session, Status } from '../state/session.ts';

/** How it stands with the engine, always in one place and mostly in one line, so that the page below stays where it is. */
export function Notices({ session, retry }: { session: Session; retry: () => void }) {
  const recoveries = session.recoveries.value;
  return (
    <div class="notices" aria-live="polite">
      <State session={session} retry={retry} />
      {recoveries > 0 && (
        <p class="notice" data-testid="recovered">
          The device was lost and replaced {recoveries === 1 ? 'once' : `${recoveries} times`}; every request was
          computed again and none was lost.
        </p>
      )}
    </div>
  );
}

function State({ session, retry }: { session: Session; retry: () => void }) {
  const status = session.status.value;
  switch (status.kind) {
    case 'idle':
      return <p class="notice">Starting</p>;
    case 'loading':
      return (
        <p class="notice" data-testid="loading">
          {describeLoading(status)}
        </p>
      );
    case 'failed':
      return (
        <p class="notice bad" role="alert" data-testid="failed">
          <span>{status.message}</span>
          {session.kind === 'tab' && (
            <button type="button" onClick={retry}>
              Load again
            </button>
          )}
        </p>
      );
    case 'disconnected':
      return (
        <p class="notice bad" role="alert" data-testid="disconnected">
          {status.message} It is tried again.
        </p>
      );
    case 'locked':
      return <Key session={session} />;
    case 'replaying':
      return <p class="notice">A saved trace is replayed. No engine runs.</p>;
    case 'ready':
      return <Device session={session} />;
  }
}

/** What computes, and why it is no GPU. */
function Device({ session }: { session: Session }) {
  const { deviceName = '', deviceNotice = null, software = false } = session.info.value ?? {};
  if (deviceNotice !== null) {
    return (
      <p class="notice" data-testid="device-notice">
        {deviceNotice} Everything works here too, more slowly than on a GPU.
      </p>
    );
  }
  if (software) {
    return (
      <p class="notice" data-testid="software">
        {deviceName} computes in software. Speeds here say nothing about a GPU.
      </p>
    );
  }
  if (session.kind === 'server') return <p class="notice">These are the steps of this server's engine.</p>;
  return <p class="notice">The engine runs in this tab, on {deviceName}. Nothing of what you write leaves it.</p>;
}

/** The server wants a key. It stays with this tab, until that is closed. */
function Key({ session }: { session: Session }) {
  const key = useSignal('');
  return (
    <form
      class="notice"
      data-testid="key"
      onSubmit={event => {
        event.preventDefault();
        session.unlock(key.value);
      }}
    >
      <label>
        API key
        <input
          type="password"
          autocomplete="off"
          value={key.value}
          onInput={event => {
            key.value = event.currentTarget.value;
          }}
        />
      </label>
      <button type="submit">Watch</button>
    </form>
  );
}

function describeLoading({ what, loaded, total }: Extract<Status, { kind: 'loading' }>): string {
  if (what === 'server') return 'Asking the server';
  if (what === 'worker') return 'Starting the worker';
  if (what === 'device') return 'Opening the device';
  if (what === 'engine') return 'Loading the weights and compiling the kernels';
  return total === null ? `Loading ${what}: ${bytes(loaded)}` : `Loading ${what}: ${bytes(loaded)} of ${bytes(total)}`;
}
