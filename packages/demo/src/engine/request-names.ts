/**
 * Which of a server's requests are this page's. A server names its requests itself, and tells the name with the head of the answer:
 * until then, one that has not been seen before may be anybody's, and gets no name here.
 */
export class RequestNames {
  /** Requests of this page by their names on the server. */
  readonly #own = new Map<string, string>();
  /** Of other clients. */
  readonly #others = new Set<string>();
  /** Requests of this page whose names are not known yet. */
  readonly #expected = new Set<string>();
  readonly #running = new Set<string>();

  /** A request is on its way. */
  expect(id: string): void {
    this.#expected.add(id);
    this.#running.add(id);
  }

  learn(name: string, id: string): void {
    this.#expected.delete(id);
    this.#own.set(name, id);
  }

  ended(id: string): void {
    this.#expected.delete(id);
    this.#running.delete(id);
  }

  /** The server has these now, and no others. */
  meet(names: readonly string[]): void {
    const present = new Set(names);
    for (const name of this.#others) if (!present.has(name)) this.#others.delete(name);
    for (const [name, id] of this.#own) if (!present.has(name) && !this.#running.has(id)) this.#own.delete(name);
    if (this.#expected.size > 0) return;
    for (const name of present) if (!this.#own.has(name)) this.#others.add(name);
  }

  /** null: nobody knows yet whose it is. */
  nameOf(name: string): string | null {
    return this.#own.get(name) ?? (this.#others.has(name) ? name : null);
  }
}
