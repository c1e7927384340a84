/** Numbers as the page shows them. */
export function rate(tokensPerSecond: number): string {
  return tokensPerSecond < 10 ? tokensPerSecond.toFixed(1) : grouped.format(tokensPerSecond);
}

/** Made once: every `toLocaleString` makes one. */
const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

export function milliseconds(value: number): string {
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(value < 10_000 ? 2 : 1)} s`;
}

export function bytes(value: number): string {
  if (value < 2 ** 20) return `${(value / 2 ** 10).toFixed(0)} KiB`;
  return value < 2 ** 30 ? `${(value / 2 ** 20).toFixed(1)} MiB` : `${(value / 2 ** 30).toFixed(2)} GiB`;
}

export function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}
