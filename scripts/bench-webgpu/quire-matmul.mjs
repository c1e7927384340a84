/** quire-matmul.mjs SIZE ROWS,...: milliseconds, and those of processor time, of one product x W^T in a chain, for f32 and 4-bit weights, as JSON. */
import { ProgramBuilder, quantizeRows } from '../../packages/core/dist/program/index.js';
import { openDevice } from '../../packages/server/dist/node/open-device.js';
import { perLink, uniform } from './chain.mjs';

const [size, rowCounts] = [Number(process.argv[2]), process.argv[3].split(',').map(Number)];
const device = await openDevice('webgpu');
const values = uniform(size * size, size);
const weights = { f32: values, q4_32: quantizeRows('q4_32', values, size) };
const times = {};
for (const [dtype, data] of Object.entries(weights)) {
  const weight = device.createTensor({ name: 'weight', dtype, shape: [size, size], usage: 'weight' });
  device.write(weight, data);
  times[dtype] = {};
  for (const rows of rowCounts) times[dtype][rows] = await perLink(length => timer(weight, dtype, rows, length));
  weight.dispose();
}
const { name } = device.info;
await device.dispose();
console.log(JSON.stringify({ name, times }));

/** A function that runs a chain of `length` products on the device. */
async function timer(weight, dtype, rows, length) {
  const noSizes = { sequences: 0, decodeSequences: 0, samples: 0, blocksPerSequence: 0, maxQueryTokens: 0 };
  const maxSizes = { ...noSizes, tokens: rows, deltaSegments: 0 };
  const builder = new ProgramBuilder('chain', maxSizes);
  builder.external('weight', dtype, [size, size]);
  const bindings = { weight };
  for (const name of ['a', 'b']) {
    builder.external(name, 'f32', ['tokens', size]);
    bindings[name] = device.createTensor({ name, dtype: 'f32', shape: [rows, size], usage: 'state' });
    device.write(bindings[name], new Float32Array(rows * size).fill(0.5));
  }
  for (let i = 0; i < length; i++) {
    const [x, out] = i % 2 === 0 ? ['a', 'b'] : ['b', 'a'];
    builder.add({ op: 'linear', x, weight: 'weight', out, outColumn: 0, activation: 'none' });
  }
  const executable = await device.compile(builder.build(), bindings);
  const run = async () => {
    device.submit([{ executable, sizes: maxSizes }]);
    await device.synchronize();
  };
  const end = async () => {
    executable.dispose();
    for (const name of ['a', 'b']) bindings[name].dispose();
  };
  return { run, end };
}
