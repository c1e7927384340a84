import { useSignalEffect } from '@preact/signals';
import type { RefObject } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

export interface Surface {
  readonly context: CanvasRenderingContext2D;
  /** Device pixels; `ratio` of them lie side by side in a CSS pixel. */
  readonly width: number;
  readonly height: number;
  readonly ratio: number;
  /** Colours of the page. */
  readonly colour: (name: string) => string;
}

/**
 * Paints what has changed since it painted last. `isBlank`: nothing is there any more, since the canvas has another size, the page
 * other colours, or the browser lost the picture.
 */
export type Paint = (surface: Surface, isBlank: boolean) => void;

/**
 * A canvas that is drawn at most once a frame, when a signal that `prepare` reads has changed or the canvas is blank. `prepare` is
 * first called for its signals alone; it returns what paints.
 */
export function useCanvas(prepare: () => Paint): RefObject<HTMLCanvasElement | null> {
  const ref = useRef<HTMLCanvasElement>(null);
  const drawing = useRef<Drawing | null>(null);
  const paint = useRef<Paint>(() => {});
  const frame = useRef(0);
  const request = () => {
    if (frame.current !== 0) return;
    frame.current = requestAnimationFrame(() => {
      frame.current = 0;
      drawing.current?.draw(paint.current);
    });
  };
  useSignalEffect(() => {
    paint.current = prepare();
    request();
  });
  useEffect(() => {
    drawing.current = new Drawing(ref.current!, request);
    return () => {
      drawing.current!.close();
      drawing.current = null;
      cancelAnimationFrame(frame.current);
    };
  }, []);
  return ref;
}

/** What is on a canvas. Sizes and colours are read when they change: reading them in a frame would lay out the page there. */
class Drawing {
  readonly #canvas: HTMLCanvasElement;
  readonly #sizes: ResizeObserver;
  readonly #scheme = matchMedia('(prefers-color-scheme: dark)');
  readonly #request: () => void;
  #width = 0;
  #height = 0;
  /** Null: blank. */
  #surface: Surface | null = null;

  constructor(canvas: HTMLCanvasElement, request: () => void) {
    this.#canvas = canvas;
    this.#request = request;
    this.#sizes = new ResizeObserver(([entry]) => {
      ({ width: this.#width, height: this.#height } = entry!.contentRect);
      this.#blank();
    });
    this.#sizes.observe(canvas);
    this.#scheme.addEventListener('change', this.#blank);
    canvas.addEventListener('contextrestored', this.#blank);
  }

  close(): void {
    this.#sizes.disconnect();
    this.#scheme.removeEventListener('change', this.#blank);
    this.#canvas.removeEventListener('contextrestored', this.#blank);
  }

  draw(paint: Paint): void {
    if (this.#width === 0 || this.#height === 0) return;
    const start = performance.now();
    const isBlank = this.#surface?.ratio !== devicePixelRatio;
    if (isBlank) this.#surface = this.#open();
    paint(this.#surface!, isBlank);
    this.#canvas.dataset.drawMilliseconds = (performance.now() - start).toFixed(2);
  }

  readonly #blank = () => {
    this.#surface = null;
    this.#request();
  };

  #open(): Surface {
    const ratio = devicePixelRatio;
    const [width, height] = [Math.round(this.#width * ratio), Math.round(this.#height * ratio)];
    // Also empties it.
    this.#canvas.width = width;
    this.#canvas.height = height;
    const style = getComputedStyle(this.#canvas);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    return { context: this.#canvas.getContext('2d')!, width, height, ratio, colour };
  }
}
