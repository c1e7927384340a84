import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../support/until.ts';
import { startTinyServer, type TinyServer } from './tiny-server.ts';

let tiny: TinyServer;
beforeAll(async () => {
  tiny = await startTinyServer();
});
afterAll(() => tiny.server.close(0));

/** Values by name with labels, and types by name. */
async function scrape(): Promise<{ values: Map<string, number>; types: Map<string, string> }> {
  const response = await fetch(`${tiny.origin}/metrics`);
  expect(response.headers.get('content-type')).toContain('text/plain');
  const values = new Map<string, number>();
  const types = new Map<string, string>();
  for (const line of (await response.text()).split('\n')) {
    const type = /^# TYPE (\S+) (\S+)$/.exec(line);
    if (type) types.set(type[1]!, type[2]!);
    const sample = /^([^#\s][^}]*\}) (\S+)$/.exec(line);
    if (sample) values.set(sample[1]!, Number(sample[2]));
  }
  return { values, types };
}

const own = 'model_name="tiny",engine="0"';

it('starts from zero, and tells the configuration of the cache', async () => {
  const { values } = await scrape();
  expect(values.get(`vllm:num_requests_running{${own}}`)).toBe(0);
  expect(values.get(`vllm:time_to_first_token_seconds_count{${own}}`)).toBe(0);
  expect(values.get(`vllm:engine_sleep_state{${own},sleep_state="awake"}`)).toBe(1);
  const { blockSize, numBlocks } = tiny.server.engine.limits;
  const [info] = [...values.keys()].filter(name => name.startsWith('vllm:cache_config_info'));
  expect(info).toContain(`block_size="${blockSize}"`);
  expect(info).toContain(`num_gpu_blocks="${numBlocks}"`);
  expect(info).toContain('enable_prefix_caching="True"');
  expect(info).toContain('engine="0"');
});

it('counts what requests do', async () => {
  const prompt = 'Once upon a time, there was a hungry dog named Max. Max loved to play in the farm.';
  const run = () =>
    tiny.client.completions.create({ model: 'tiny', prompt, temperature: 0, max_tokens: 8, ignore_eos: true } as never);
  const before = (await scrape()).values;
  const { usage } = await run();
  await run();
  const after = (await scrape()).values;
  const gained = (name: string) => after.get(name)! - (before.get(name) ?? 0);
  expect(gained(`vllm:prompt_tokens_total{${own}}`)).toBe(2 * usage!.prompt_tokens);
  expect(gained(`vllm:generation_tokens_total{${own}}`)).toBe(16);
  expect(gained(`vllm:prefix_cache_hits_total{${own}}`)).toBeGreaterThanOrEqual(16);
  expect(gained(`vllm:request_success_total{${own},finished_reason="length"}`)).toBe(2);
  expect(gained(`vllm:time_to_first_token_seconds_count{${own}}`)).toBe(2);
  expect(gained(`vllm:e2e_request_latency_seconds_count{${own}}`)).toBe(2);
  expect(gained(`vllm:e2e_request_latency_seconds_sum{${own}}`)).toBeGreaterThan(0);
  expect(gained(`vllm:request_generation_tokens_sum{${own}}`)).toBe(16);
  expect(gained(`vllm:inter_token_latency_seconds_count{${own}}`)).toBeGreaterThan(0);
  const cached = gained(`vllm:prompt_tokens_cached_total{${own}}`);
  expect(cached).toBeGreaterThanOrEqual(16);
  expect(gained(`vllm:prompt_tokens_by_source_total{${own},source="local_cache_hit"}`)).toBe(cached);
  const computed = 2 * usage!.prompt_tokens - cached;
  expect(gained(`vllm:prompt_tokens_by_source_total{${own},source="local_compute"}`)).toBe(computed);
  expect(gained(`vllm:request_prefill_kv_computed_tokens_sum{${own}}`)).toBe(computed);
  expect(gained(`vllm:request_params_max_tokens_sum{${own}}`)).toBe(16);
  expect(gained(`vllm:request_params_n_sum{${own}}`)).toBe(2);
  expect(gained(`vllm:request_max_num_generation_tokens_sum{${own}}`)).toBe(16);
  // A step computes the prompt, and every token but the first of a completion needs another.
  expect(gained(`vllm:iteration_tokens_total_sum{${own}}`)).toBeGreaterThanOrEqual(computed + 14);
  const seconds = (name: string) => gained(`vllm:${name}_sum{${own}}`);
  expect(seconds('request_prefill_time_seconds') + seconds('request_decode_time_seconds')).toBeCloseTo(
    seconds('request_inference_time_seconds'),
  );
  expect(seconds('request_queue_time_seconds') + seconds('request_inference_time_seconds')).toBeCloseTo(
    seconds('e2e_request_latency_seconds'),
  );
  expect(gained(`vllm:request_time_per_output_token_seconds_count{${own}}`)).toBe(2);
});

it('has the older names that routers read', async () => {
  const { values } = await scrape();
  const value = (name: string) => values.get(`vllm:${name}{${own}}`);
  expect(value('gpu_cache_usage_perc')).toBe(value('kv_cache_usage_perc'));
  expect(value('gpu_prefix_cache_hits_total')).toBe(value('prefix_cache_hits_total'));
  expect(value('gpu_prefix_cache_queries_total')).toBe(value('prefix_cache_queries_total'));
  expect(value('num_requests_swapped')).toBe(0);
  expect(value('time_per_output_token_seconds_count')).toBe(value('inter_token_latency_seconds_count'));
});

it('counts HTTP requests by route, not by path, and leaves out those of machines', async () => {
  const before = (await scrape()).values;
  for (const path of ['/v1/models/tiny', '/v1/models/none', '/nowhere', '/nowhere/else', '/health']) {
    await (await fetch(`${tiny.origin}${path}`)).text();
  }
  const after = (await scrape()).values;
  const gained = (labels: string) =>
    (after.get(`http_requests_total{${labels}}`) ?? 0) - (before.get(`http_requests_total{${labels}}`) ?? 0);
  expect(gained('handler="/v1/models/*",status="2xx",method="GET"')).toBe(1);
  expect(gained('handler="/v1/models/*",status="4xx",method="GET"')).toBe(1);
  expect(gained('handler="none",status="4xx",method="GET"')).toBe(2);
  const names = [...after.keys()].join();
  expect(names).not.toContain('handler="/health"');
  expect(names).not.toContain('handler="/metrics"');
  expect(after.get('http_request_duration_seconds_count{handler="/v1/completions",method="POST"}')).toBe(2);
  expect(after.get('http_response_size_bytes_sum{handler="/v1/completions"}')).toBeGreaterThan(0);
});

it('shows running requests, and frees their blocks when the client leaves', async () => {
  const leave = new AbortController();
  const stream = await fetch(`${tiny.origin}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'Once', max_tokens: 400, ignore_eos: true, stream: true, n: 2, temperature: 1 }),
    signal: leave.signal,
  });
  await stream.body!.getReader().read();
  const during = (await scrape()).values;
  expect(during.get(`vllm:num_requests_running{${own}}`)).toBe(2);
  expect(during.get(`vllm:kv_cache_usage_perc{${own}}`)).toBeGreaterThan(0);
  leave.abort();
  await until(async () => (await scrape()).values.get(`vllm:kv_cache_usage_perc{${own}}`) === 0);
  const after = (await scrape()).values;
  expect(after.get(`vllm:num_requests_running{${own}}`)).toBe(0);
  expect(after.get(`vllm:request_success_total{${own},finished_reason="abort"}`)).toBe(1);
});
