/** What a device holds does not grow with the requests that it has served. */
import { expect, it } from 'vitest';
import { tinyEngine } from '../../support/tiny-engine.ts';
import { prompt } from '../engine/helpers.ts';
import { openWebGpu } from './fixtures.ts';

const REQUESTS = 1000;
const ROWS = 100;

it('allocates as many bytes after 1,000 requests as after the first ones', async () => {
  const device = await openWebGpu();
  const engine = await tinyEngine(device, { maxNumSeqs: ROWS, maxNumBatchedTokens: 512, numGpuBlocksOverride: 256 });
  const bytes = [];
  for (let served = 0; served < REQUESTS; served += ROWS) {
    for (let i = 0; i < ROWS; i++) {
      engine.add(prompt(1 + (i % 4), served + i), { temperature: i % 2, seed: i, maxTokens: 2, ignoreEos: true });
    }
    while (engine.hasUnfinished) await engine.step();
    bytes.push(device.allocatedBytes());
  }
  // Every kind of step has run in the first round.
  expect(bytes).toEqual(new Array(REQUESTS / ROWS).fill(bytes[0]));
  await engine.dispose();
});
