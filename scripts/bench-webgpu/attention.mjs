/**
 * attention.mjs [LANES]: milliseconds of paged attention, Quire's and the textbook's in plain WGSL, on the same adapter, as JSON. LANES
 * (subgroup, workgroup or one) takes the kernels as a GPU does, which splits the contexts of few sequences, on adapters in software too.
 */
import { dawn, openNodeWebGpuDevice } from '../../packages/backend-webgpu/dist/node.js';
import { SEQUENCE_WORDS, Sequence } from '../../packages/core/dist/contract/contract.js';
import { ProgramBuilder } from '../../packages/core/dist/program/index.js';
import { openDevice } from '../../packages/server/dist/node/open-device.js';
import { take, timed, uniform } from './chain.mjs';
import { openTextbook } from './textbook-attention.mjs';

const shape = { heads: 16, kvHeads: 4, headDim: 64, blockSize: 16 };
const scenes = {
  'decode, 16 sequences of 1,024': { sequences: 16, queryTokens: 1, context: 1024 },
  'decode, 1 sequence of 1,024': { sequences: 1, queryTokens: 1, context: 1024 },
  'decode, 1 sequence of 4,096': { sequences: 1, queryTokens: 1, context: 4096 },
  'prefill, 1 sequence of 512': { sequences: 1, queryTokens: 512, context: 512 },
};
const ROUNDS = 4;
/** Largest difference between the two, beside values of at most sqrt(3). */
const TOLERANCE = 1e-5;

const [, , lanes] = process.argv;
const device = await (lanes === undefined ? openDevice('webgpu') : openNodeWebGpuDevice({ lanes }));
const times = {};
for (const [name, scene] of Object.entries(scenes)) times[name] = await compare(scene);
const { name } = device.info;
await device.dispose();
console.log(JSON.stringify({ name, times }));

async function compare(scene) {
  const data = makeData(scene);
  const ours = await openOurs(scene, data);
  const theirs = await openTextbook(await dawn([]), shape, scene, data);
  const result = { quire: await perRun(ours.run), textbook: await perRun(theirs.run) };
  const [a, b] = [await ours.read(), await theirs.read()];
  const apart = a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
  if (!(apart < TOLERANCE)) throw new Error(`attention: the two are ${apart} apart, expected at most ${TOLERANCE}.`);
  ours.end();
  theirs.end();
  return result;
}

function makeData({ sequences, queryTokens, context }) {
  const blocksPerSequence = context / shape.blockSize;
  const blocks = 1 + sequences * blocksPerSequence;
  const width = (shape.heads + 2 * shape.kvHeads) * shape.headDim;
  const cache = blocks * shape.kvHeads * shape.blockSize * shape.headDim;
  // Blocks of a sequence lie apart, as they do after some use.
  const blockTables = Uint32Array.from({ length: blocks - 1 }, (_, i) => 1 + ((i * 37) % (blocks - 1)));
  return {
    qkv: uniform(sequences * queryTokens * width, 1),
    k: uniform(cache, 1),
    v: uniform(cache, 1).reverse(),
    blockTables,
    maxBlocks: blocksPerSequence,
    blocks,
    width,
    scale: shape.headDim ** -0.5,
  };
}

async function openOurs({ sequences, queryTokens, context }, data) {
  const tokens = sequences * queryTokens;
  const sizes = {
    tokens,
    sequences,
    decodeSequences: queryTokens === 1 ? sequences : 0,
    samples: 0,
    blocksPerSequence: data.maxBlocks,
    maxQueryTokens: queryTokens,
    deltaSegments: 0,
  };
  const builder = new ProgramBuilder('attention', sizes);
  const records = new Uint32Array(sequences * SEQUENCE_WORDS);
  for (let i = 0; i < sequences; i++) {
    const record = records.subarray(i * SEQUENCE_WORDS);
    record[Sequence.row] = i;
    record[Sequence.queryStart] = i * queryTokens;
    record[Sequence.queryLen] = queryTokens;
    record[Sequence.contextLen] = context;
    record[Sequence.firstPosition] = context - queryTokens;
  }
  const cacheShape = [data.blocks, shape.kvHeads, shape.blockSize, shape.headDim];
  const columns = shape.heads * shape.headDim;
  const externals = {
    qkv: ['f32', ['tokens', data.width], data.qkv],
    kCache: ['f32', cacheShape, data.k],
    vCache: ['f32', cacheShape, data.v],
    sequences: ['u32', ['sequences', SEQUENCE_WORDS], records],
    blockTables: ['u32', [sequences, data.maxBlocks], data.blockTables],
    out: ['f32', ['tokens', columns], new Float32Array(tokens * columns)],
  };
  const bindings = {};
  for (const [name, [dtype, dims, values]] of Object.entries(externals)) {
    builder.external(name, dtype, dims);
    const resolved = dims.map(dim => (typeof dim === 'number' ? dim : sizes[dim]));
    bindings[name] = device.createTensor({ name, dtype, shape: resolved, usage: 'state' });
    device.write(bindings[name], values);
  }
  const names = Object.fromEntries(Object.keys(externals).map(name => [name, name]));
  builder.add({ op: 'pagedAttention', ...names, ...shape, scale: data.scale, window: 0, softCap: 0 });
  const executable = await device.compile(builder.build(), bindings);
  return {
    run: async times => {
      device.submit([{ executable, sizes }], times);
      await device.synchronize();
    },
    read: async () => {
      const into = new Float32Array(tokens * columns);
      await device.read(bindings.out, 0, into);
      return into;
    },
    end: () => {
      executable.dispose();
      for (const tensor of Object.values(bindings)) tensor.dispose();
    },
  };
}

/** Milliseconds of one dispatch of several, and of processor time. */
async function perRun(run) {
  await run(1);
  const once = (await timed(() => run(1))).ms;
  const times = Math.max(1, Math.min(50, Math.round(200 / once)));
  const best = { ms: Infinity, processor: Infinity };
  for (let round = 0; round < ROUNDS; round++) take(best, await timed(() => run(times)));
  return { ms: best.ms / times, processor: best.processor / times };
}
