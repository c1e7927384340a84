import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, type Server } from 'node:net';
import { ConfigError } from '@quire/core';

/** Where a server is reached: a port of an address, or a socket in the file system. */
export type Place = { readonly host: string; readonly port: number } | { readonly uds: string };

/** Connections that the system keeps until they are accepted, as far as it lets: a thousand clients may come at once. */
const BACKLOG = 4096;

/** Resolves with the port, or 0 for a socket. Rejects with ConfigError when the place cannot be had. */
export async function listen(server: Server, place: Place): Promise<number> {
  if ('uds' in place) await clearSocket(place.uds);
  await new Promise<void>((resolve, reject) => {
    const refused = (error: NodeJS.ErrnoException) => reject(cannotListen(error, place));
    server.once('error', refused);
    const done = () => {
      server.off('error', refused);
      resolve();
    };
    if ('uds' in place) server.listen({ path: place.uds, backlog: BACKLOG }, done);
    else server.listen({ port: place.port, host: place.host, backlog: BACKLOG }, done);
  });
  // Who may reach it is what the rights of the file say: at first, this user.
  if ('uds' in place) chmodSync(place.uds, 0o600);
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Removes the socket of a process that has gone; anything else stays. */
async function clearSocket(path: string): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const isDead = await new Promise<boolean>(resolve => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
  if (isDead) unlinkSync(path);
}

function cannotListen({ code = '', message }: NodeJS.ErrnoException, place: Place): ConfigError {
  if ('uds' in place) {
    const reason = { EADDRINUSE: 'there is a file, or another server listens' }[code] ?? message;
    return new ConfigError(`Cannot listen on the socket ${JSON.stringify(place.uds)}: ${reason}.`, 'uds');
  }
  const advice: Record<string, string> = {
    EADDRINUSE: 'the port is taken. Choose another, or 0 for any free one',
    EACCES: 'this user may not bind the port. Choose one above 1023',
    EADDRNOTAVAIL: 'the address is not one of this machine',
  };
  const { host, port } = place;
  return new ConfigError(`Cannot listen on ${host} port ${port}: ${advice[code] ?? message}.`, 'port');
}
