import type { BatchEntry, StepTrace } from '@quire/core';
import type { Traces } from '../state/traces.ts';
import type { Surface } from './canvas.ts';
import { HueStyles } from './hue-styles.ts';

/** Width of a step in CSS pixels. */
const STEP = 5;
/** Tokens of the smallest scale. */
const FEWEST = 16;

/** Draws the last steps, the newest on the right: what is there moves to the left, and columns alone are drawn that are new. */
export class TimelinePainter {
  readonly #traces: Traces;
  /** The number of a request, or 0 where it is not known. */
  readonly #numberOf: (requestId: string) => number;
  #newest: StepTrace | undefined;
  /** Tokens that fill the height. */
  #scale = 0;
  #decode = new HueStyles('');
  #prefill = new HueStyles('');

  constructor(traces: Traces, numberOf: (requestId: string) => number) {
    this.#traces = traces;
    this.#numberOf = numberOf;
  }

  paint(surface: Surface, isBlank: boolean): void {
    const { context, width, height, ratio, colour } = surface;
    const pitch = Math.round(STEP * ratio);
    const columns = Math.ceil(width / pitch);
    if (isBlank) {
      this.#decode = new HueStyles(colour('--tile'));
      this.#prefill = new HueStyles(colour('--tile-pale'));
    }
    const scale = this.#scaleOf(columns);
    const added = isBlank || scale !== this.#scale ? columns : this.#numAdded(columns);
    this.#scale = scale;
    this.#newest = this.#traces.back(0);
    if (added === columns) context.clearRect(0, 0, width, height);
    else if (added > 0) move(context, -added * pitch);
    for (let back = 0; back < added; back++) this.#column(surface, width - (back + 1) * pitch, pitch, back);
  }

  /** A power of two, so that it seldom changes: all columns are drawn again then. */
  #scaleOf(columns: number): number {
    let scale = FEWEST;
    for (let back = 0; back < columns; back++) {
      const step = this.#traces.back(back);
      if (step === undefined) break;
      while (tokensOf(step.batch) > scale) scale *= 2;
    }
    return scale;
  }

  /** Steps since the one that was drawn last; all that there is room for where that one is not among them. */
  #numAdded(columns: number): number {
    for (let back = 0; back < columns; back++) {
      const step = this.#traces.back(back);
      if (step === this.#newest) return back;
      if (step === undefined) break;
    }
    return columns;
  }

  #column({ context, height, ratio }: Surface, x: number, pitch: number, back: number): void {
    const step = this.#traces.back(back);
    if (step === undefined) return;
    const gap = Math.round(ratio);
    let below = 0;
    for (const { requestId, numTokens, phase } of step.batch) {
      const bottom = Math.round((height * below) / this.#scale);
      below += numTokens;
      const tall = Math.round((height * below) / this.#scale) - bottom;
      context.fillStyle = (phase === 'decode' ? this.#decode : this.#prefill).of(this.#numberOf(requestId));
      const drawn = Math.max(1, tall > 3 * gap ? tall - gap : tall);
      context.fillRect(x, height - bottom - drawn, pitch - gap, drawn);
    }
  }
}

function move(context: CanvasRenderingContext2D, by: number): void {
  context.globalCompositeOperation = 'copy';
  context.drawImage(context.canvas, by, 0);
  context.globalCompositeOperation = 'source-over';
}

function tokensOf(batch: readonly BatchEntry[]): number {
  let tokens = 0;
  for (const { numTokens } of batch) tokens += numTokens;
  return tokens;
}
