import { useSignalEffect } from '@preact/signals';
import type { RefObject } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

export interface Surface {
  readonly context: CanvasRenderingContext2D;
  /** CSS pixels. */
  readonly width: number;
  readonly height: number;
  /** Colours of the page. */
  readonly colour: (name: string) => string;
}

/**
 * A canvas that is drawn at most once a frame, when a signal that `draw` reads has changed or the canvas another size. `draw` is
 * first called for its signals alone; it returns what paints.
 */
export function useCanvas(prepare: () => (surface: Surface) => void): RefObject<HTMLCanvasElement | null> {
  const ref = useRef<HTMLCanvasElement>(null);
  const paint = useRef<(surface: Surface) => void>(() => {});
  const frame = useRef(0);
  const request = () => {
    if (frame.current !== 0) return;
    frame.current = requestAnimationFrame(() => {
      frame.current = 0;
      if (ref.current !== null) drawOn(ref.current, paint.current);
    });
  };
  useSignalEffect(() => {
    paint.current = prepare();
    request();
  });
  useEffect(() => {
    const canvas = ref.current!;
    const sizes = new ResizeObserver(request);
    sizes.observe(canvas);
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    scheme.addEventListener('change', request);
    return () => {
      sizes.disconnect();
      scheme.removeEventListener('change', request);
      cancelAnimationFrame(frame.current);
    };
  }, []);
  return ref;
}

function drawOn(canvas: HTMLCanvasElement, paint: (surface: Surface) => void): void {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (width === 0 || height === 0) return;
  const start = performance.now();
  const ratio = devicePixelRatio;
  const [pixelWidth, pixelHeight] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== pixelWidth || canvas.height !== pixelHeight) {
    canvas.width = pixelWidth;
    canvas.height = pixelHeight;
  }
  const context = canvas.getContext('2d')!;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  paint({ context, width, height, colour: coloursOf(canvas) });
  canvas.dataset.drawMilliseconds = (performance.now() - start).toFixed(2);
}

/** Each is looked up once a frame, however many tiles have it. */
function coloursOf(element: Element): (name: string) => string {
  const style = getComputedStyle(element);
  const found = new Map<string, string>();
  return name => {
    let value = found.get(name);
    if (value === undefined) {
      value = style.getPropertyValue(name).trim();
      found.set(name, value);
    }
    return value;
  };
}
