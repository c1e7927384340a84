import { randomBytes } from 'node:crypto';

/** Names of files on disk are made of these alone, never of what a client sends. */
export function newId(prefix: 'file-' | 'batch_'): string {
  return prefix + randomBytes(16).toString('hex');
}

/** Unix seconds, as OpenAI's objects have them. */
export function unixTime(): number {
  return Math.floor(Date.now() / 1000);
}

export interface Page<T> {
  object: 'list';
  data: T[];
  first_id: string | null;
  last_id: string | null;
  has_more: boolean;
}

/** The items after the one with the id `after`, at most `limit`. */
export function pageOf<T extends { id: string }>(items: readonly T[], after: string | null, limit: number): Page<T> {
  const start = after === null ? 0 : items.findIndex(item => item.id === after) + 1;
  const data = items.slice(start, start + limit);
  return {
    object: 'list',
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: start + data.length < items.length,
  };
}
