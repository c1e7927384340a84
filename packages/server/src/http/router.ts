import { HttpError } from './errors.ts';
import type { Reply } from './reply.ts';
import type { AppRequest } from './request.ts';

/** `wildcard`: what stood at the place of `*` in the route, decoded. */
export type Handler = (request: AppRequest, wildcard: string) => Promise<Reply> | Reply;
export type Methods = Readonly<Record<string, Handler>>;

interface Route {
  readonly path: string;
  readonly methods: Methods;
}

/** Exact paths, and paths with one `*`, which stands for any text and is tried in the order in which routes were added. */
export class Router {
  readonly #exact = new Map<string, Route>();
  readonly #patterns: Route[] = [];

  add(path: string, methods: Methods): this {
    if (path.includes('*')) this.#patterns.push({ path, methods });
    else this.#exact.set(path, { path, methods });
    return this;
  }

  /** Every path, for the test that none is open that should not be. */
  get paths(): string[] {
    return [...this.#exact.keys(), ...this.#patterns.map(route => route.path)];
  }

  /** The path of the route that would answer, with its `*`; null where none does. */
  routeOf(path: string): string | null {
    return this.#match(path)?.path ?? null;
  }

  /** Every method of every path. */
  get operations(): { method: string; path: string }[] {
    const routes = [...this.#exact.values(), ...this.#patterns];
    return routes.flatMap(({ path, methods }) => Object.keys(methods).map(method => ({ method, path })));
  }

  /** Throws HttpError 404 for an unknown path and 405 for a method that the path does not have. */
  find(method: string, path: string): { handler: Handler; wildcard: string } {
    const route = this.#match(path);
    if (route === undefined) {
      throw new HttpError(404, `There is no ${printable(path)} here.`, { code: 'not_found' });
    }
    const handler = Object.hasOwn(route.methods, method) ? route.methods[method] : undefined;
    if (handler === undefined) {
      const allow = Object.keys(route.methods).join(', ');
      throw new HttpError(405, `${route.path} answers ${allow} only.`, {
        code: 'method_not_allowed',
        headers: { allow },
      });
    }
    return { handler, wildcard: decode(wildcardOf(route.path, path)) };
  }

  #match(path: string): Route | undefined {
    return this.#exact.get(path) ?? this.#patterns.find(({ path: pattern }) => wildcardOf(pattern, path) !== '');
  }
}

/** Empty when the path does not match, or the pattern has no `*`. */
function wildcardOf(pattern: string, path: string): string {
  const [before = '', after] = pattern.split('*');
  if (after === undefined || !path.startsWith(before) || !path.endsWith(after)) return '';
  return path.slice(before.length, path.length - after.length);
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
