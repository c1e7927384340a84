import { useSignal } from '@preact/signals';
import type { Session } from '../state/session.ts';
import { bytes } from './format.ts';

/** What the visitor must know: loading, failures, and why no GPU is used. */
export function Notices({ session, retry }: { session: Session; retry: () => void }) {
  const status = session.status.value;
  const info = session.info.value;
  const recoveries = session.recoveries.value;
  return (
    <div class="notices" aria-live="polite">
      {status.kind === 'loading' && (
        <p class="notice" data-testid="loading">
          <span>{describeLoading(status.what, status.loaded, status.total)}</span>
          <progress
            max={status.total ?? 1}
            {...(status.total === null ? {} : { value: status.loaded })}
            aria-label="Loading"
          />
        </p>
      )}
      {status.kind === 'failed' && (
        <p class="notice bad" role="alert" data-testid="failed">
          <span>{status.message}</span>
          {session.kind === 'tab' && (
            <button type="button" onClick={retry}>
              Load again
            </button>
          )}
        </p>
      )}
      {status.kind === 'disconnected' && (
        <p class="notice bad" role="alert" data-testid="disconnected">
          {status.message} It is tried again.
        </p>
      )}
      {status.kind === 'locked' && <Key session={session} />}
      {status.kind === 'replaying' && <p class="notice">A saved trace is replayed. No engine runs.</p>}
      {info?.deviceNotice != null && status.kind === 'ready' && (
        <p class="notice" data-testid="device-notice">
          {info.deviceNotice} The engine runs on {info.deviceName} instead: everything works, more slowly.
        </p>
      )}
      {info?.software === true && info.deviceNotice == null && (
        <p class="notice" data-testid="software">
          {info.deviceName} computes in software. Speeds here say nothing about a GPU.
        </p>
      )}
      {recoveries > 0 && (
        <p class="notice" data-testid="recovered">
          The device was lost and replaced {recoveries === 1 ? 'once' : `${recoveries} times`}; every request was
          computed again and none was lost.
        </p>
      )}
    </div>
  );
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

function describeLoading(what: string, loaded: number, total: number | null): string {
  if (what === 'server') return 'Asking the server';
  if (what === 'worker') return 'Starting the worker';
  if (what === 'device') return 'Opening the device';
  if (what === 'engine') return 'Loading the weights and compiling the kernels';
  return total === null ? `Loading ${what}: ${bytes(loaded)}` : `Loading ${what}: ${bytes(loaded)} of ${bytes(total)}`;
}
