/** Requests on an engine, and their times. */

/**
 * Requests of 32 prompt tokens at once. `rate` is tokens per second of all while they decode, `stepMs` the time of a step.
 * @param optionsOf further options of request i, such as its adapter
 */
export async function decode(asyncLLM, batch, tokens, vocab, params, optionsOf = () => ({})) {
  const runs = await Promise.all(
    Array.from({ length: batch }, (_, i) => run(asyncLLM, ids(32, vocab), tokens, params, optionsOf(i))),
  );
  const perRequest = runs.map(r => (r.tokens - 1) / (r.finished - r.first));
  const rate = perRequest.reduce((a, b) => a + b, 0) * 1000;
  return { rate, stepMs: (batch * 1000) / rate };
}

/** One request. Times in milliseconds: to the first token, and of the first and the last on the clock of the engine. */
export async function run(asyncLLM, promptTokenIds, maxTokens, params, options = {}) {
  for await (const output of asyncLLM.generate(
    { promptTokenIds },
    { ...params, maxTokens, ignoreEos: true, detokenize: false },
    { outputKind: 'final', ...options },
  )) {
    if (output.error !== null) throw output.error;
    const { arrival, firstToken, finished } = output.metrics;
    if (output.finished)
      return { ttft: firstToken - arrival, first: firstToken, finished, tokens: output.outputs[0].tokenIds.length };
  }
}

export function ids(count, vocab) {
  return Array.from({ length: count }, () => Math.floor(Math.random() * vocab));
}

export function round(x) {
  return Number(x.toPrecision(4));
}

export function print(line) {
  console.log(JSON.stringify(line));
}
