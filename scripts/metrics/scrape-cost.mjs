// What one scrape of /metrics costs, without HTTP: `npm run build && node scripts/metrics/scrape-cost.mjs`.
import { Metrics } from '../../packages/server/dist/metrics/metrics.js';

const stats = {
  numRequestsRunning: 64,
  numRequestsWaiting: 7,
  kvCacheUsage: 0.5,
  numPreemptions: 3,
  prefixCacheQueries: 1e6,
  prefixCacheHits: 5e5,
  draftTokens: 1000,
  acceptedTokens: 700,
  numDrafts: 300,
  acceptedPerPosition: [280, 220, 120, 80],
  promptTokens: 1e6,
  cachedPromptTokens: 5e5,
  generationTokens: 2e6,
  finished: { stop: 900, length: 80, abort: 15, error: 5 },
};
const engine = {
  stats: () => ({ ...stats }),
  limits: { maxModelLen: 131_072, blockSize: 16, numBlocks: 50_000 },
  isSleeping: false,
};
const metrics = new Metrics(engine, 'model');
for (let i = 0; i < 1000; i++) {
  metrics.onStep({ timeToFirstToken: [i], interTokenLatency: [i / 10], numTokens: i, times: 1 });
  const times = { arrival: 0, firstScheduled: i, firstToken: 2 * i, finished: 10 * i };
  const counts = { numPromptTokens: i, numCachedTokens: 0, numGenerationTokens: i, maxNumGenerationTokens: i };
  metrics.onRequestFinished({ ...counts, n: 1, maxTokens: i, metrics: times });
  const exchange = { method: 'POST', route: '/v1/chat/completions', status: 200, milliseconds: i };
  metrics.http.observe({ ...exchange, requestBytes: i, responseBytes: i });
}

const text = await metrics.expose();
const samples = [];
const cpu = process.cpuUsage();
for (let i = 0; i < 3000; i++) {
  const started = performance.now();
  await metrics.expose();
  samples.push(performance.now() - started);
}
const { user, system } = process.cpuUsage(cpu);
metrics.stop();
samples.sort((a, b) => a - b);
const at = share => samples[Math.floor(samples.length * share)].toFixed(3);
const families = text.match(/^# TYPE/gm).length;
const histograms = text.match(/^# TYPE \S+ histogram/gm).length;
console.log(`${families} metrics, ${histograms} of them histograms, ${Buffer.byteLength(text)} bytes`);
const cpuMs = ((user + system) / 1000 / samples.length).toFixed(3);
console.log(`a scrape: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms; ${cpuMs} ms of CPU`);
