import type { Session } from '../state/session.ts';
import { bytes } from './format.ts';

/** What the visitor must know: loading, failures, and why no GPU is used. */
export function Notices({ session }: { session: Session }) {
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
          {status.message}
        </p>
      )}
      {status.kind === 'replaying' && <p class="notice">A saved trace is replayed. No engine runs.</p>}
      {info?.deviceNotice != null && status.kind === 'ready' && (
        <p class="notice" data-testid="device-notice">
          {info.deviceNotice} The engine runs on {info.deviceName} instead: everything works, more slowly.
        </p>
      )}
      {info?.software === true && info.deviceNotice === null && (
        <p class="notice">{info.deviceName} computes in software. Speeds here say nothing about a GPU.</p>
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

function describeLoading(what: string, loaded: number, total: number | null): string {
  if (what === 'worker') return 'Starting the worker';
  if (what === 'device') return 'Opening the device';
  if (what === 'engine') return 'Loading the weights and compiling the kernels';
  return total === null ? `Loading ${what}: ${bytes(loaded)}` : `Loading ${what}: ${bytes(loaded)} of ${bytes(total)}`;
}
