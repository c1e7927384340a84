import { beforeAll, expect, test } from 'vitest';
import { benchLink } from '../../packages/server/src/bench/engine-link.ts';
import { build } from './build.ts';
import { tinyLlama } from './tiny-server.ts';

beforeAll(build);

test('measures the way from an engine process to streams', async () => {
  const rows = await benchLink({ model: tinyLlama, streams: 64, tokens: 100 });
  console.log(rows.map(({ name, value, unit }) => `${name} ${value} ${unit}`).join(', '));
  expect(rows.map(({ name }) => name)).toEqual(['engine.link.frames', 'engine.link.tokens', 'engine.link.cpu']);
  for (const { value } of rows) expect(value).toBeGreaterThan(0);
});
