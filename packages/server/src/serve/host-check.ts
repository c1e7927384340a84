import { HttpError } from '../http/errors.ts';

const LOOPBACK = ['localhost', '127.0.0.1', '[::1]'];

/** Whether a server bound to `host` can be reached from this machine alone. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.includes(host) || host === '::1' || host.startsWith('127.');
}

/**
 * On a server for this machine alone, refuses requests that came under another name: a web page that rebinds its own name to
 * 127.0.0.1 could otherwise read answers. Throws HttpError 403.
 */
export function checkHost(host: string | undefined): void {
  const name = (host ?? 'localhost').replace(/:\d*$/, '').toLowerCase();
  if (LOOPBACK.includes(name) || name.startsWith('127.')) return;
  const message =
    'This server answers requests to localhost only. Start it with --host or --api-key to use other names.';
  throw new HttpError(403, message, { code: 'host_not_allowed' });
}

/**
 * The same for what a page of another origin sends without reading the answer, as a form can. Throws HttpError 403. `allows`: says
 * of an origin whether it was allowed.
 */
export function checkOrigin(origin: string | undefined, allows: (origin: string) => boolean): void {
  if (origin === undefined || allows(origin)) return;
  const { hostname } = URL.canParse(origin) ? new URL(origin) : { hostname: '' };
  if (isLoopback(hostname)) return;
  const message = 'This server answers pages of this machine only. Start it with --allowed-origins to let others ask.';
  throw new HttpError(403, message, { code: 'origin_not_allowed' });
}
