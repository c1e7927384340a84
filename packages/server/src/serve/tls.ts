import { readFileSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { ConfigError } from '@quire/core';

/** Names are vLLM's. */
export interface TlsOptions {
  /** Certificate chain in PEM. Both files, or neither. */
  sslCertfile?: string | undefined;
  sslKeyfile?: string | undefined;
  /** Authorities whose certificates clients must show, in PEM. */
  sslCaCerts?: string | undefined;
  /** Take up files that are replaced. Default false. */
  enableSslRefresh?: boolean | undefined;
}

const REFRESH_MS = 10_000;
const files = ['sslCertfile', 'sslKeyfile', 'sslCaCerts'] as const;

/** Throws ConfigError for files that cannot be used. null: without TLS. */
export function readTls(options: TlsOptions): SecureContextOptions | null {
  const { sslCertfile, sslKeyfile, sslCaCerts } = options;
  if (sslCertfile === undefined && sslKeyfile === undefined && sslCaCerts === undefined) return null;
  for (const name of ['sslCertfile', 'sslKeyfile'] as const) {
    if (options[name] === undefined) throw new ConfigError(`${name} is missing: TLS needs certificate and key.`, name);
  }
  const [cert, key, ca] = files.map(name => read(options, name));
  const context = { cert: cert!, key: key!, minVersion: 'TLSv1.2' as const, ...(ca === undefined ? {} : { ca }) };
  try {
    createSecureContext(context);
  } catch (cause) {
    const { message } = cause as Error;
    throw new ConfigError(`sslCertfile and sslKeyfile cannot be used together: ${message}.`, 'sslCertfile');
  }
  return context;
}

function read(options: TlsOptions, name: (typeof files)[number]): Buffer | undefined {
  const file = options[name];
  if (file === undefined) return undefined;
  try {
    return readFileSync(file);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new ConfigError(`${name} ${JSON.stringify(file)} cannot be read: ${code}.`, name);
  }
}

/** A server that speaks TLS; with authorities, only to clients whose certificate is of one of them. */
export function createTlsServer(context: SecureContextOptions, options: Parameters<typeof createServer>[0]): Server {
  const mutual = context.ca === undefined ? {} : { requestCert: true, rejectUnauthorized: true };
  return createServer({ ...options, ...context, ...mutual });
}

/** Has new connections use files that were replaced; files that cannot be used are told, and the old ones stay. Returns the end. */
export function refreshTls(
  server: Server,
  options: TlsOptions,
  told: (error: unknown) => void,
  everyMs = REFRESH_MS,
): () => void {
  const stamp = () => files.map(name => modified(options[name])).join();
  let known = stamp();
  const timer = setInterval(() => {
    const now = stamp();
    if (now === known) return;
    known = now;
    try {
      server.setSecureContext(readTls(options)!);
      told(null);
    } catch (error) {
      told(error);
    }
  }, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}

function modified(file: string | undefined): number {
  if (file === undefined) return 0;
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
