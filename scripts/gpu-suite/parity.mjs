/**
 * Teacher-forced log-probabilities beside those of transformers: parity.mjs FOLDER, as parity.py left it. The error against f32
 * must be at most 1.5 times that of transformers' own bf16, and the best token the same wherever the best two are further apart
 * than twice that error.
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
const errors = { ours: [], theirs: [] };
let wrong = 0;
let certain = 0;
const allowed =
  2 * Math.sqrt(meanSquare(f32.chosen.flatMap((row, s) => row.map((value, i) => bf16.chosen[s][i] - value))));
outputs.forEach((output, s) => {
  output.promptLogprobs.slice(1).forEach((position, i) => {
    const chosen = position.logprob;
    errors.ours.push(chosen - f32.chosen[s][i]);
    errors.theirs.push(bf16.chosen[s][i] - f32.chosen[s][i]);
    if (f32.gap[s][i] <= allowed) return;
    certain++;
    if (position.top[0].tokenId !== f32.best[s][i]) wrong++;
  });
});
const rms = { ours: Math.sqrt(meanSquare(errors.ours)), theirs: Math.sqrt(meanSquare(errors.theirs)) };
console.log(
  JSON.stringify({
    folder,
    positions: errors.ours.length,
    rmsError: rms,
    ratio: rms.ours / rms.theirs,
    certain,
    wrongBest: wrong,
  }),
);
await llm.dispose();
await device.dispose();
process.exit(rms.ours <= 1.5 * rms.theirs && wrong === 0 ? 0 : 1);

function meanSquare(values) {
  return values.reduce((sum, value) => sum + value * value, 0) / values.length;
}
