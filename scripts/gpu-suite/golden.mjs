/** Both bundled checkpoints through the library on one device: golden.mjs [DEVICE]. A line per case; exit code 1 on a wrong token before a narrow gap. */
import { readFileSync } from 'node:fs';
import { LLM, openDevice } from '@quire/server';

/**
 * How the models are computed. A token is only certain while the best two logits are further apart than `gap`: twice the largest
 * error of a logit (test/e2e/sixteen-bit.test.ts).
 */
const modes = [
  { dtype: 'float32', kvCacheDtype: 'float32', gap: 0 },
  { dtype: 'float32', kvCacheDtype: 'float16', gap: 0.05 },
  { dtype: 'float16', kvCacheDtype: 'auto', gap: 0.05 },
  { dtype: 'bfloat16', kvCacheDtype: 'auto', gap: 0.4 },
];

const [name = 'cuda'] = process.argv.slice(2);
const device = await openDevice(name);
let failed = 0;
for (const folder of ['models/tiny-llama', 'models/tiny-opt']) {
  for (const mode of modes) failed += await check(folder, mode);
}
await device.dispose();
process.exit(failed > 0 ? 1 : 0);

function certain({ tokenIds, top2Gaps }, gap) {
  const narrow = top2Gaps.findIndex(found => found < gap);
  return narrow < 0 ? tokenIds.length : narrow;
}

async function check(folder, { dtype, kvCacheDtype, gap }) {
  const { cases } = JSON.parse(readFileSync(`${folder}/golden.json`, 'utf8'));
  const llm = new LLM({ model: folder, device, dtype, kvCacheDtype });
  const params = cases.map(({ tokenIds }) => ({
    temperature: 0,
    maxTokens: tokenIds.length,
    ignoreEos: true,
    detokenize: false,
  }));
  await llm.load();
  const start = performance.now();
  const outputs = await llm.generate(
    cases.map(({ promptTokenIds }) => ({ promptTokenIds })),
    params,
  );
  const seconds = (performance.now() - start) / 1000;
  let wrong = 0;
  let tokens = 0;
  outputs.forEach(({ outputs: [{ tokenIds }] }, i) => {
    const expected = cases[i].tokenIds.slice(0, certain(cases[i], gap));
    const at = expected.findIndex((id, j) => tokenIds[j] !== id);
    tokens += expected.length;
    if (at < 0) return;
    wrong++;
    console.log(
      JSON.stringify({
        folder,
        dtype,
        case: cases[i].name,
        differsAt: at,
        expected: expected[at],
        found: tokenIds[at],
        gap: cases[i].top2Gaps[at],
      }),
    );
  });
  console.log(
    JSON.stringify({
      folder,
      device: name,
      dtype,
      kvCacheDtype,
      cases: cases.length,
      wrong,
      tokens,
      seconds: Number(seconds.toFixed(2)),
    }),
  );
  await llm.dispose();
  return wrong;
}
