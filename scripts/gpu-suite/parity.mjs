/**
 * Teacher-forced log-probabilities beside those of transformers: parity.mjs FOLDER, as parity.py left it. The error against f32
 * must be at most 1.5 times that of transformers' own bf16, and the best token the same wherever the best two are further apart
 * than twice the largest error of transformers.
 */
import { readFileSync } from 'node:fs';
import { LLM, openDevice } from '@quire/server';

const [folder] = process.argv.slice(2);
const { sequences, f32, bf16 } = JSON.parse(readFileSync(`${folder}/parity.json`, 'utf8'));
const device = await openDevice(process.env.QUIRE_DEVICE ?? 'cuda');
const llm = new LLM({
  model: folder,
  device,
  skipTokenizerInit: true,
  dtype: 'bfloat16',
  maxModelLen: 512,
  maxNumSeqs: 8,
});
const outputs = await llm.generate(
  sequences.map(promptTokenIds => ({ promptTokenIds })),
  { temperature: 0, maxTokens: 1, promptLogprobs: 1, detokenize: false },
);
const places = f32.chosen.flatMap((row, s) => row.map((_, i) => [s, i]));
const ours = ([s, i]) => outputs[s].promptLogprobs[i + 1];
const errors = {
  ours: places.map(([s, i]) => ours([s, i]).logprob - f32.chosen[s][i]),
  theirs: places.map(([s, i]) => bf16.chosen[s][i] - f32.chosen[s][i]),
};
const rms = { ours: rootMeanSquare(errors.ours), theirs: rootMeanSquare(errors.theirs) };
// By the root mean square a few gaps are bridged by chance; by the largest error none should be.
const counts = ['rms', 'largest'].map(measure => {
  const error = measure === 'rms' ? rms.theirs : Math.max(...errors.theirs.map(Math.abs));
  const certain = places.filter(([s, i]) => f32.gap[s][i] > 2 * error);
  const otherBest = idOf => certain.filter(([s, i]) => idOf([s, i]) !== f32.best[s][i]).length;
  return {
    measure,
    certain: certain.length,
    wrongBest: otherBest(place => ours(place).top[0].tokenId),
    theirWrongBest: otherBest(([s, i]) => bf16.best[s][i]),
  };
});
const ratio = rms.ours / rms.theirs;
console.log(JSON.stringify({ folder, positions: places.length, rmsError: rms, ratio, counts }));
await llm.dispose();
await device.dispose();
process.exit(ratio <= 1.5 && counts[1].wrongBest === 0 ? 0 : 1);

function rootMeanSquare(values) {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}
