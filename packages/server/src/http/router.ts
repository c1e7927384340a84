import type { IncomingMessage, ServerResponse } from 'node:http';
import { HttpError } from './errors.ts';

export interface RequestContext {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** Ours; echoed as x-request-id and used in ids of answers. */
  readonly requestId: string;
  /** What stood at the place of `*` in the route, decoded. */
  readonly wildcard: string;
  /** Aborts when the client is gone before its answer is whole. */
  readonly signal: AbortSignal;
}
export type Handler = (context: RequestContext) => Promise<void> | void;

interface Route {
  /** An exact path, or one that ends in `/*`. */
  readonly path: string;
  readonly methods: Readonly<Record<string, Handler>>;
}

/** Exact paths, and prefixes that end in `/*`. */
export class Router {
  readonly #routes: Route[] = [];

  add(path: string, methods: Readonly<Record<string, Handler>>): this {
    this.#routes.push({ path, methods });
    return this;
  }

  /** Every path, for the test that no route but /health is open. */
  get paths(): string[] {
    return this.#routes.map(route => route.path);
  }

  /** Throws HttpError 404 for an unknown path and 405 for a method that the path does not have. */
  find(method: string, path: string): { handler: Handler; wildcard: string } {
    const route = this.#routes.find(r => matches(r.path, path));
    if (route === undefined) {
      throw new HttpError(404, `There is no ${printable(path)} here.`, { code: 'not_found' });
    }
    const handler = route.methods[method];
    if (handler === undefined) {
      const allow = Object.keys(route.methods).join(', ');
      throw new HttpError(405, `${route.path} answers ${allow} only.`, {
        code: 'method_not_allowed',
        headers: { allow },
      });
    }
    return { handler, wildcard: route.path.endsWith('*') ? decode(path.slice(route.path.length - 1)) : '' };
  }
}

/** The path of a request target, in origin form or absolute form, without its query. Nothing is decoded or collapsed. */
export function targetPath(target: string): string {
  const absolute = /^https?:\/\/[^/?#]*/i.exec(target);
  const path = (absolute ? target.slice(absolute[0].length) : target).split(/[?#]/, 1)[0] ?? '';
  return path === '' ? '/' : path;
}

function matches(pattern: string, path: string): boolean {
  return pattern.endsWith('/*')
    ? path.length >= pattern.length && path.startsWith(pattern.slice(0, -1))
    : pattern === path;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function printable(path: string): string {
  return path.length > 80 ? `${path.slice(0, 80)}...` : path;
}
