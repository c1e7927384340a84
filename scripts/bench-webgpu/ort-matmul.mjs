/** ort-matmul.mjs FOLDER SIZE ROWS,...: the same chains in onnxruntime's WebGPU provider. FOLDER is where onnxruntime-node is installed. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { perLink, uniform } from './chain.mjs';
import { matMul4Chain, matMulChain } from './onnx-model.mjs';

const [folder, size, rowCounts] = [process.argv[2], Number(process.argv[3]), process.argv[4].split(',').map(Number)];
const ort = createRequire(join(folder, 'package.json'))('onnxruntime-node');
const b = uniform(size * size, size);
const quantised = {
  codes: new Uint8Array(uniform((size * size) / 8, size).buffer),
  // Codes are spread evenly, with a root mean square of 4.6.
  scales: new Float32Array((size * size) / 32).fill(1 / (4.6 * Math.sqrt(size))),
};
const chains = {
  f32: length => matMulChain(length, size, b),
  q4_32: length => matMul4Chain(length, size, quantised, 0),
  'q4_32, activations in int8': length => matMul4Chain(length, size, quantised, 4),
};
const times = {};
for (const [name, model] of Object.entries(chains)) {
  times[name] = {};
  for (const rows of rowCounts) times[name][rows] = await perLink(length => timer(model(length), rows));
}
console.log(JSON.stringify({ name: `onnxruntime ${ort.env.versions.node}`, times }));

async function timer(model, rows) {
  const session = await ort.InferenceSession.create(model, { executionProviders: ['webgpu'], logSeverityLevel: 3 });
  const x = new ort.Tensor('float32', new Float32Array(rows * size).fill(0.5), [rows, size]);
  return { run: () => session.run({ x }), end: () => session.release() };
}
