/** Runs one stage of a start and tells how long it took; `detail` adds to that, such as bytes per second. */
export type StageTimer = <T>(
  name: string,
  run: () => Promise<T>,
  detail?: (result: T, milliseconds: number) => string,
) => Promise<T>;

export const untimed: StageTimer = (_, run) => run();

/** Such as `1.25 GB/s`. */
export function bytesPerSecond(bytes: number, milliseconds: number): string {
  return `${(bytes / 1e6 / Math.max(milliseconds, 1e-3)).toFixed(2)} GB/s`;
}
