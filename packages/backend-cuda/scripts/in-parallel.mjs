const JOBS = 2;

/** Works on the items two at a time; the results are in their order. */
export async function inParallel(items, work) {
  const results = new Array(items.length);
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < items.length; i = next++) results[i] = await work(items[i]);
  };
  await Promise.all(Array.from({ length: JOBS }, worker));
  return results;
}
