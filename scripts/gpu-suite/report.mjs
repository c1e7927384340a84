/**
 * Results of a window as tables for docs/benchmarks.md: report.mjs FOLDER. Prints what is there: speed of models, the
 * 256-sequence benchmark, parity, kernels beside PyTorch.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder] = process.argv.slice(2);
const lines = name => {
  const file = join(folder, `${name}.jsonl`);
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map(line => JSON.parse(line));
};
const matching = prefix =>
  readdirSync(folder)
    .filter(file => file.startsWith(prefix) && file.endsWith('.jsonl'))
    .flatMap(file => lines(file.slice(0, -6)));
const percent = share => `${(share * 100).toFixed(0)} %`;

table(
  'Decode',
  ['model', 'sampling', 'requests', 'tokens/s', 'ms per step', 'limit, ms', 'share'],
  [...lines('decode'), ...matching('formats-')]
    .filter(line => line.what === 'decode')
    .map(({ model, engine, params, batch, tokensPerSecond, stepMs, limitMs, share }) => [
      [model, ...Object.entries(engine ?? {}).map(([option, value]) => `${option} ${value}`)].join(', '),
      sampling(params),
      batch,
      tokensPerSecond,
      stepMs,
      limitMs,
      percent(share),
    ]),
);
table(
  'Adapters',
  ['model', 'adapters', 'requests', 'tokens/s', 'ms per step'],
  lines('adapters').map(({ model, used, batch, tokensPerSecond, stepMs }) => [
    model,
    used,
    batch,
    tokensPerSecond,
    stepMs,
  ]),
);
table(
  'Prefill of one prompt',
  ['model', 'prompt tokens', 'ms to the first token', 'tokens/s', 'share of 790 TFLOP/s'],
  lines('decode')
    .filter(line => line.what === 'prefill')
    .map(({ model, prompt, ms, tokensPerSecond, share }) => [model, prompt, ms, tokensPerSecond, percent(share)]),
);
table(
  '256 sequences',
  ['model', 'output tokens', 'seconds', 'tokens/s'],
  lines('throughput').map(({ model, tokens, seconds, tokensPerSecond }) => [model, tokens, seconds, tokensPerSecond]),
);
table(
  'transformers',
  ['model', 'what', 'requests', 'tokens/s'],
  matching('generate-').map(({ model, what, batch, tokensPerSecond, error }) => [
    model,
    what,
    batch,
    tokensPerSecond ?? `failed: ${error}`,
  ]),
);
table(
  'Parity, teacher-forced',
  [
    'model',
    'positions',
    'rms error, ours',
    "rms error, transformers' bf16",
    'ratio',
    'certain positions',
    'other best token',
  ],
  matching('parity-').map(({ folder: model, positions, rmsError, ratio, counts }) => [
    model.replace(/.*parity-/, ''),
    positions,
    rmsError.ours.toPrecision(3),
    rmsError.theirs.toPrecision(3),
    ratio.toFixed(2),
    ...['certain', 'wrongBest', 'theirWrongBest'].map(field => counts.map(count => count[field]).join(', ')),
  ]),
);
table(
  'Kernels',
  ['kernel', 'us', 'limit, us', 'share'],
  [...lines('layer'), ...lines('kernels'), ...lines('torch')]
    .filter(line => line.us)
    .map(({ name, us, limitUs, share }) => [name, us, limitUs, percent(share)]),
);

function sampling({ temperature, topP }) {
  return temperature === 0 ? 'greedy' : `T ${temperature}, top-p ${topP}`;
}

function table(title, head, rows) {
  if (rows.length === 0) return;
  console.log(`### ${title}\n\n| ${head.join(' | ')} |\n|${head.map(() => '---').join('|')}|`);
  for (const row of rows) console.log(`| ${row.join(' | ')} |`);
  console.log();
}
