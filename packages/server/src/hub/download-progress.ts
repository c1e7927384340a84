/** How far a download is. */
export interface DownloadReport {
  readonly model: string;
  readonly bytes: number;
  readonly totalBytes: number;
  /** Of this process, since it began. */
  readonly bytesPerSecond: number;
}

/** Told every few seconds, and at the end. */
export type OnDownload = (report: DownloadReport) => void;

const INTERVAL_MS = 5_000;

/** Counts the bytes of a download. Those that were there before count as done, and not as speed. */
export class DownloadProgress {
  readonly #model: string;
  readonly #report: OnDownload;
  readonly #started = performance.now();
  #last = Number.NEGATIVE_INFINITY;
  #bytes = 0;
  #found = 0;
  #totalBytes = 0;

  constructor(model: string, report: OnDownload) {
    this.#model = model;
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
    const [model, bytes, totalBytes] = [this.#model, this.#bytes, this.#totalBytes];
    this.#report({ model, bytes, totalBytes, bytesPerSecond: Math.max(0, bytes - this.#found) / seconds });
  }
}

/** Such as `Downloading org/name: 34 % of 2.2 GB, 45.0 MB/s`. */
export function describeDownload({ model, bytes, totalBytes, bytesPerSecond }: DownloadReport): string {
  const share = totalBytes === 0 ? 100 : Math.floor((bytes / totalBytes) * 100);
  return `Downloading ${model}: ${share} % of ${inUnits(totalBytes)}, ${inUnits(bytesPerSecond)}/s`;
}

/** Decimal, as download tools show it. */
function inUnits(bytes: number): string {
  if (bytes < 1000) return `${Math.round(bytes)} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length, Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1000 ** power).toFixed(1)} ${units[power - 1]}`;
}
