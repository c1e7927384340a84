/** Structured outputs end to end: what a model is made to write parses, and is what the constraint says. */
import { join } from 'node:path';
import { InvalidRequestError, LLM, type SamplingParams, type StructuredOutputs } from '@quire/core';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openFolderSource } from '../../packages/server/src/node/folder-source.ts';
import { openGrammarThread } from '../../packages/server/src/node/grammar-thread.ts';
import { casesOn, endToEndDevices, fullEndToEnd, openTestDevice, type TestDeviceName } from '../support/devices.ts';

const folder = join(import.meta.dirname, '../../models/tiny-llama');
const sampled = { temperature: 1, maxTokens: 200, seed: 7 } as const;

const person = {
  type: 'object',
  properties: {
    name: { type: 'string', maxLength: 12 },
    age: { type: 'integer', minimum: 0, maximum: 120 },
    tags: { type: 'array', items: { enum: ['red', 'green'] }, minItems: 1, maxItems: 3 },
    home: { anyOf: [{ type: 'null' }, { $ref: '#/$defs/place' }] },
  },
  required: ['name', 'age', 'home'],
  $defs: { place: { type: 'object', properties: { zip: { type: 'string', pattern: '^\\d{5}$' } }, required: ['zip'] } },
};

/** An LLM on a device for the tests of a block, and what it writes under a constraint. */
function llmOn(name: TestDeviceName) {
  let llm: LLM;
  beforeAll(async () => {
    const runtime = {
      openDevice: () => Promise.reject(new Error('The test opens its own device.')),
      openSource: openFolderSource,
      openGrammarThread,
    };
    const device = await openTestDevice(name);
    llm = new LLM(
      { model: folder, device, maxNumSeqs: 8, maxNumBatchedTokens: 128, numGpuBlocksOverride: 200 },
      runtime,
    );
    await llm.load();
  });
  afterAll(() => llm.dispose());

  async function writeAll(structuredOutputs: StructuredOutputs, params: SamplingParams = {}) {
    const [output] = await llm.generate('Once upon a time', { ...sampled, ...params, structuredOutputs });
    if (output!.error !== null) throw output!.error;
    return output!.outputs;
  }

  async function write(structuredOutputs: StructuredOutputs, params: SamplingParams = {}) {
    return (await writeAll(structuredOutputs, params))[0]!;
  }

  return { write, writeAll, generate: (...args: Parameters<LLM['generate']>) => llm.generate(...args) };
}

describe.each(endToEndDevices())('structured outputs on %s', name => {
  const { write, writeAll, generate } = llmOn(name);

  it.each(casesOn(name, [1, 2, 3, 4], []))('json: the text parses and is valid, with seed %i', async seed => {
    const validate = new Ajv2020({ strict: false }).compile(person);
    const { text, finishReason } = await write({ json: person }, { seed });
    expect(finishReason).toBe('stop');
    expect(validate(JSON.parse(text)), text).toBe(true);
  });

  it('regex, choice and grammar', async () => {
    const regex = await write({ regex: '[A-Z][a-z]{2,5} (is|was) \\d{1,3}(\\.\\d)?!' });
    expect(regex.text).toMatch(/^[A-Z][a-z]{2,5} (is|was) \d{1,3}(\.\d)?!$/);
    const choice = await writeAll({ choice: ['the wolf', 'the "fox"', 'caf\u00e9 \u{1f98a}'] }, { n: 6 });
    for (const { text, finishReason } of choice) {
      expect(['the wolf', 'the "fox"', 'caf\u00e9 \u{1f98a}']).toContain(text);
      expect(finishReason).toBe('stop');
    }
    const wide = await write({ grammar: 'root ::= [\u00e0-\u00ff]{2} [^ -~]{2} [\\U0001f98a\\U0001f98b]' });
    expect(wide.text).toMatch(/^[\u00e0-\u00ff]{2}[^ -~]{2}[\u{1f98a}\u{1f98b}]$/u);
    const grammar = await write({ grammar: 'root ::= "<" word ("," word){0,3} ">"\nword ::= [a-z]{1,4}' });
    expect(grammar.text).toMatch(/^<[a-z]{1,4}(,[a-z]{1,4}){0,3}>$/);
  });

  it('runs beside other requests without changing them', async () => {
    const free = { temperature: 0, maxTokens: 40, ignoreEos: true };
    const [alone] = await generate('One day, the dog', free);
    const outputs = await generate(
      ['One day, the dog', 'Once upon a time', 'One day, the dog', 'Once upon a time'],
      [
        free,
        { ...sampled, structuredOutputs: { json: person } },
        free,
        { ...sampled, structuredOutputs: { regex: 'a{90}' } },
      ],
    );
    for (const i of [0, 2]) expect(outputs[i]!.outputs[0]!.tokenIds).toEqual(alone!.outputs[0]!.tokenIds);
    expect(JSON.parse(outputs[1]!.outputs[0]!.text)).toBeTypeOf('object');
    expect(outputs[3]!.outputs[0]!.text).toBe('a'.repeat(90));
  });
});

/** What the grammar alone decides, whatever the device. */
describe.each(fullEndToEnd ? endToEndDevices() : (['reference'] as const))('constraints on %s', name => {
  const { write, writeAll } = llmOn(name);

  it('json without white space', async () => {
    const { text } = await write({ json: person, disableAnyWhitespace: true });
    expect(JSON.parse(text)).toBeTypeOf('object');
    expect(text.replaceAll(/"[^"]*"/g, '')).not.toMatch(/\n|\t| {2}/);
  });

  it('json_object: an object of whatever properties', async () => {
    const outputs = await writeAll({ jsonObject: true }, { n: 4, maxTokens: 100 });
    for (const { text, finishReason } of outputs) {
      if (finishReason === 'stop') expect(JSON.parse(text)).toBeTypeOf('object');
      expect(text[0]).toBe('{');
    }
  });

  it('ends with the grammar where EOS does not count or may not come yet', async () => {
    for (const params of [{ ignoreEos: true }, { minTokens: 100 }]) {
      const { text, finishReason, stopReason } = await write({ choice: ['abc'] }, params);
      expect([text, finishReason, stopReason]).toEqual(['abc', 'stop', null]);
    }
  });

  it('a wrong constraint is refused with a sentence, and the next one works', async () => {
    const bad: [StructuredOutputs, RegExp][] = [
      [{ json: { type: 'wizard' } }, /^structured_outputs.json.type must be one or several of object/],
      [{ json: { $ref: '#/$defs/none' } }, /names nothing/],
      [{ regex: '(a' }, /"\(" is not closed, at character 0/],
      [{ grammar: 'root ::= (' }, /^structured_outputs.grammar cannot be used: .*line 1/],
      [{ grammar: 'x ::= "a"' }, /"root" is not found/],
    ];
    for (const [constraint, message] of bad) {
      const error = await write(constraint).then(
        () => null,
        (e: Error) => e,
      );
      expect(error).toBeInstanceOf(InvalidRequestError);
      expect(error!.message).toMatch(message);
    }
    expect((await write({ choice: ['yes'] })).text).toBe('yes');
  });
});
