/** How far a transfer of many bytes is: of a model from a hub, or of its weights from their files. */
export interface TransferReport {
  readonly bytes: number;
  readonly totalBytes: number;
  /** Of this process, since it began. */
  readonly bytesPerSecond: number;
}

/** Told every few seconds, and at the end. */
export type OnTransfer = (report: TransferReport) => void;

const INTERVAL_MS = 5_000;

/** Counts the bytes of a transfer. Those that were there before count as done, and not as speed. */
export class TransferProgress {
  readonly #report: OnTransfer;
  readonly #started = performance.now();
  #last = this.#started;
  #bytes = 0;
  #found = 0;
  #totalBytes = 0;

  constructor(report: OnTransfer) {
    this.#report = report;
  }

  expect(bytes: number): void {
    this.#totalBytes += bytes;
  }

  /** Bytes of an earlier process. */
  found(bytes: number): void {
    this.#found += bytes;
    this.#bytes += bytes;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
    const now = performance.now();
    if (now - this.#last < INTERVAL_MS) return;
    this.#last = now;
    this.tell();
  }

  tell(): void {
    const seconds = Math.max(0.001, (performance.now() - this.#started) / 1000);
    // What is read twice is no more than all.
    const bytes = Math.min(this.#bytes, this.#totalBytes);
    const bytesPerSecond = Math.max(0, this.#bytes - this.#found) / seconds;
    this.#report({ bytes, totalBytes: this.#totalBytes, bytesPerSecond });
  }
}

/** Such as `34 % of 2.2 GB, 45.0 MB/s`. */
export function describeTransfer({ bytes, totalBytes, bytesPerSecond }: TransferReport): string {
  const share = totalBytes === 0 ? 100 : Math.floor((bytes / totalBytes) * 100);
  return `${share} % of ${inUnits(totalBytes)}, ${inUnits(bytesPerSecond)}/s`;
}

/** Decimal, as download tools show it. */
function inUnits(bytes: number): string {
  if (bytes < 1000) return `${Math.round(bytes)} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length, Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1000 ** power).toFixed(1)} ${units[power - 1]}`;
}
