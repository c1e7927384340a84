import { hueOf } from '../state/requests.ts';

/** Requests whose styles are kept. */
const KEPT = 1024;

/** The fill style of each request in one shade, made once: a canvas parses a style that is a new text. */
export class HueStyles {
  /** Saturation and lightness. */
  readonly #shade: string;
  readonly #styles = new Map<number, string>();

  constructor(shade: string) {
    this.#shade = shade;
  }

  of(number: number): string {
    let style = this.#styles.get(number);
    if (style === undefined) {
      if (this.#styles.size === KEPT) this.#styles.clear();
      style = `hsl(${hueOf(number)} ${this.#shade})`;
      this.#styles.set(number, style);
    }
    return style;
  }
}
