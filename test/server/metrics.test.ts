import { afterAll, beforeAll, expect, it } from 'vitest';
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

it('exposes the names, types and labels of vLLM', async () => {
  const { types, values } = await scrape();
  expect(Object.fromEntries(types)).toEqual({
    'vllm:num_requests_running': 'gauge',
    'vllm:num_requests_waiting': 'gauge',
    'vllm:kv_cache_usage_perc': 'gauge',
    'vllm:cache_config_info': 'gauge',
    'vllm:prefix_cache_queries_total': 'counter',
    'vllm:prefix_cache_hits_total': 'counter',
    'vllm:num_preemptions_total': 'counter',
    'vllm:spec_decode_num_draft_tokens_total': 'counter',
    'vllm:spec_decode_num_accepted_tokens_total': 'counter',
    'vllm:prompt_tokens_total': 'counter',
    'vllm:generation_tokens_total': 'counter',
    'vllm:request_success_total': 'counter',
    'vllm:time_to_first_token_seconds': 'histogram',
    'vllm:inter_token_latency_seconds': 'histogram',
    'vllm:e2e_request_latency_seconds': 'histogram',
    'vllm:request_prompt_tokens': 'histogram',
    'vllm:request_generation_tokens': 'histogram',
  });
  expect(values.get(`vllm:num_requests_running{${own}}`)).toBe(0);
  const { blockSize, numBlocks } = tiny.server.engine.limits;
  expect(values.get(`vllm:cache_config_info{block_size="${blockSize}",num_gpu_blocks="${numBlocks}",engine="0"}`)).toBe(
    1,
  );
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
  const left = performance.now();
  const usage = async () => (await scrape()).values.get(`vllm:kv_cache_usage_perc{${own}}`);
  while ((await usage()) !== 0) expect(performance.now() - left).toBeLessThan(5000);
  const after = (await scrape()).values;
  expect(after.get(`vllm:num_requests_running{${own}}`)).toBe(0);
  expect(after.get(`vllm:request_success_total{${own},finished_reason="abort"}`)).toBe(1);
});
