/** Closes what was opened, last first. */
export class Cleanup {
  readonly #steps: (() => Promise<void>)[] = [];

  with<T>(resource: T, close: (resource: T) => Promise<void>): T {
    this.#steps.push(() => close(resource));
    return resource;
  }

  async run(): Promise<void> {
    for (const step of this.#steps.splice(0).reverse()) await step();
  }
}
