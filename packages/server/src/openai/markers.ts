/**
 * Finds one of a few short markers in text that arrives in pieces. Every marker begins with '<' and has no other '<', so what
 * does not go on as a marker can only begin anew.
 */
export class MarkerMatcher {
  readonly #markers: readonly string[];
  #seen = '';

  constructor(markers: readonly string[]) {
    this.#markers = markers;
  }

  /** The beginning of a marker that was seen. It is plain text if the rest does not come. */
  get seen(): string {
    return this.#seen;
  }

  /** Takes one code unit. The marker that it completes; null: one may be on its way; false: this unit continues none. */
  step(unit: string): string | null | false {
    const seen = this.#seen + unit;
    const found = this.#markers.find(marker => marker.startsWith(seen));
    this.#seen = found === undefined || found === seen ? '' : seen;
    if (found === undefined) return false;
    return found === seen ? found : null;
  }
}
