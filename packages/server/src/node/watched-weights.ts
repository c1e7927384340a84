import type { ModelSource } from '@quire/core';
import { shardsOf, type WantedWeights, weightsEntry } from '../hub/needed-files.ts';
import { type OnTransfer, TransferProgress } from './transfer-progress.ts';

/** An index of weights is small; a larger file is told by who loads it. */
const MAX_INDEX_BYTES = 64 * 2 ** 20;

/** A source that tells how much of its weights has been read. `done` tells it a last time. */
export async function watchWeights(
  source: ModelSource,
  weights: WantedWeights,
  report: OnTransfer,
): Promise<{ source: ModelSource; done(): void }> {
  const files = new Map<string, number>();
  for (const name of await weightFiles(source, weights)) files.set(name, (await source.size(name)) ?? 0);
  const progress = new TransferProgress(report);
  for (const bytes of files.values()) progress.expect(bytes);
  const counted = async (file: string, bytes: number) => {
    const descriptor = await source.descriptor!(file, bytes);
    if (files.has(file)) progress.add(bytes);
    return descriptor;
  };
  const watched: ModelSource = {
    location: source.location,
    list: () => source.list(),
    size: file => source.size(file),
    async read(file, start, end, into) {
      const bytes = await source.read(file, start, end, into);
      if (files.has(file)) progress.add(end - start);
      return bytes;
    },
    ...(source.descriptor === undefined ? {} : { descriptor: counted }),
    ...(source.checkpoint === undefined ? {} : { checkpoint: () => source.checkpoint!() }),
    ...(source.stamp === undefined ? {} : { stamp: file => source.stamp!(file) }),
    close: () => source.close(),
  };
  return { source: watched, done: () => files.size > 0 && progress.tell() };
}

async function weightFiles(source: ModelSource, weights: WantedWeights): Promise<string[]> {
  const names = new Set(await source.list());
  const entry = weightsEntry(names, weights);
  if (entry === null) return [];
  if (!entry.endsWith('.index.json')) return [entry];
  const size = (await source.size(entry)) ?? 0;
  if (size > MAX_INDEX_BYTES) return [];
  const text = new TextDecoder().decode(await source.read(entry, 0, size));
  return shardsOf(entry, text).filter(name => names.has(name));
}
