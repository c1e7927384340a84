/** Clients of the test. */

const WORDS =
  'the a little dog cat boy girl boat tree house river sun moon went saw found gave took happy sad big red blue old and then but with to in on of'.split(
    ' ',
  );

function randomNumbers(seed) {
  let state = Math.imul(seed + 1, 0x9e3779b1);
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    return (state ^ (state >>> 13)) >>> 0;
  };
}

/** The same words for the same seed. */
export function text(seed, count) {
  const next = randomNumbers(seed);
  return Array.from({ length: count }, () => WORDS[next() % WORDS.length]).join(' ');
}

/** The numbers below `count`, in an order of the seed's. */
export function shuffled(count, seed) {
  const next = randomNumbers(seed);
  const keyed = Array.from({ length: count }, (_, i) => [next(), i]);
  return keyed.sort(([a], [b]) => a - b).map(([, i]) => i);
}

/** Runs tasks, so many at a time. */
export async function inParallel(tasks, concurrency) {
  const results = [];
  const queue = tasks.entries();
  const work = async () => {
    for (const [i, task] of queue) results[i] = await task();
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  return results;
}

function post(origin, body, headers = {}) {
  return fetch(`${origin}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ model: 'tiny', temperature: 0, ignore_eos: true, ...body }),
  });
}

/** One request that is not streamed: its status and the engine that answered. */
export async function complete(origin, prompt, headers = {}) {
  const response = await post(origin, { prompt, max_tokens: 2 }, headers);
  await response.text();
  return { status: response.status, engine: response.headers.get('x-served-by') };
}

/** One stream. `state` tells how far it is while it runs; it ends as `whole`, `refused` or `cut`. */
export function stream(origin, prompt, tokens) {
  const state = { engine: null, chunks: 0, end: null };
  const run = async () => {
    try {
      const response = await post(origin, {
        prompt,
        max_tokens: tokens,
        stream: true,
        stream_options: { include_usage: true },
      });
      if (!response.ok) return 'refused';
      state.engine = response.headers.get('x-served-by');
      let received = '';
      for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
        received += chunk;
        state.chunks++;
      }
      const whole = received.endsWith('data: [DONE]\n\n') && received.includes(`"completion_tokens":${tokens}`);
      return whole ? 'whole' : 'cut';
    } catch {
      return state.engine === null ? 'refused' : 'cut';
    }
  };
  return {
    state,
    end: run().then(end => {
      state.end = end;
      return end;
    }),
  };
}
