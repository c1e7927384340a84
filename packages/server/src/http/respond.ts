import type { ServerResponse } from 'node:http';
import { errorBody, type HttpError } from './errors.ts';

export function sendJson(res: ServerResponse, status: number, body: unknown): void {
  sendText(res, status, 'application/json', JSON.stringify(body));
}

export function sendText(res: ServerResponse, status: number, contentType: string, body: string): void {
  if (res.destroyed) return;
  res.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) });
  res.end(body);
}

/** Answers with the error. A request whose body was not read to its end loses its connection: the rest is not a request. */
export function sendError(res: ServerResponse, error: HttpError): void {
  if (res.headersSent || res.destroyed) {
    res.destroy();
    return;
  }
  for (const [name, value] of Object.entries(error.headers)) res.setHeader(name, value);
  const body = errorBody(error);
  if (res.req.complete) sendText(res, error.status, 'application/json', body);
  else sendAndLinger(res, error.status, body);
}

/** How long the rest of a refused body is read and thrown away. Closing at once would reset the answer off the wire. */
const LINGER_MS = 500;

function sendAndLinger(res: ServerResponse, status: number, body: string): void {
  const { req } = res;
  res.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    connection: 'close',
  });
  res.write(body);
  const finish = () => {
    clearTimeout(timer);
    res.end();
  };
  const timer = setTimeout(finish, LINGER_MS);
  req.once('end', finish);
  req.resume();
}
