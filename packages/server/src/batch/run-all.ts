/**
 * Runs `task` on every item, at most `concurrency` at a time. The next item is read when a task ends, so that as many are in
 * memory as run. The first failure is thrown after the tasks that run have ended; no further item is read then.
 */
export async function runAll<T>(
  items: AsyncIterable<T>,
  concurrency: number,
  task: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = items[Symbol.asyncIterator]();
  let failed = false;
  const work = async () => {
    while (!failed) {
      const { value, done } = await iterator.next();
      if (done) return;
      await task(value);
    }
  };
  const worker = () =>
    work().catch((error: unknown) => {
      failed = true;
      throw error;
    });
  const ends = await Promise.allSettled(Array.from({ length: concurrency }, worker));
  await iterator.return?.();
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}
