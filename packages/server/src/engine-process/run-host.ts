import { Socket } from 'node:net';
import { EngineHost, type HostOptions } from './host.ts';

/** The file that is the way to the front end: the fourth, behind standard input, output and errors. */
export const CHANNEL = 3;

/**
 * Runs an engine for the process that started this one, until that is gone. Signals for the whole group of processes (Ctrl-C, a stop
 * of the service) are the front end's: it lets requests finish first.
 */
export function runEngineHost(options: HostOptions = {}): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  // A kernel that hangs would keep an orderly end waiting, and the device with it.
  const end = () => process.kill(process.pid, 'SIGKILL');
  new EngineHost(new Socket({ fd: CHANNEL }), options, end);
}
