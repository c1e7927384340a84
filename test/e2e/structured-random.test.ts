/**
 * Random schemas: whatever a sampled output is, if it ends by itself it parses and validates. 200 schemas with
 * QUIRE_LONG_TESTS=1, some of them otherwise.
 */
import { join } from 'node:path';
import { LLM } from '@quire/core';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { expect, it } from 'vitest';
import { openFolderSource } from '../../packages/server/src/node/folder-source.ts';
import { openGrammarThread } from '../../packages/server/src/node/grammar-thread.ts';
import { openTestDevice } from '../support/devices.ts';
import { drawFrom, randomSchema } from '../support/random-schema.ts';

const COUNT = process.env.QUIRE_LONG_TESTS === '1' ? 200 : 16;
const folder = join(import.meta.dirname, '../../models/tiny-llama');

it(`${COUNT} random schemas`, { timeout: 1_200_000 }, async () => {
  const never = () => Promise.reject(new Error('The test opens its own device.'));
  const runtime = { openDevice: never, openSource: openFolderSource, openGrammarThread };
  const device = await openTestDevice('reference');
  await using llm = new LLM({ model: folder, device, maxNumSeqs: 8, maxNumBatchedTokens: 64 }, runtime);
  const schemas = Array.from({ length: COUNT }, (_, i) => randomSchema(drawFrom(i + 1)));
  const started = performance.now();
  const outputs = await llm.generate(
    schemas.map((_, i) => ['Once upon a time', 'One day', 'The answer is'][i % 3]!),
    schemas.map((json, seed) => ({ temperature: 1, maxTokens: 480, seed, structuredOutputs: { json } })),
  );
  const seconds = (performance.now() - started) / 1000;
  const ajv = new Ajv2020({ strict: false });
  addFormats.default(ajv);
  let stopped = 0;
  for (const [i, { outputs: completions, error }] of outputs.entries()) {
    expect(error, JSON.stringify(schemas[i])).toBeNull();
    const { text, finishReason } = completions[0]!;
    if (finishReason !== 'stop') continue;
    stopped++;
    const validate = ajv.compile(schemas[i]!);
    expect(
      validate(JSON.parse(text)),
      `${JSON.stringify(schemas[i])}\n${text}\n${ajv.errorsText(validate.errors)}`,
    ).toBe(true);
  }
  console.log(`${stopped} of ${COUNT} outputs ended by themselves, all of them valid; ${seconds.toFixed(1)} s`);
  expect(stopped).toBeGreaterThanOrEqual(0.95 * COUNT);
});
