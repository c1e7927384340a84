/** Both bundled checkpoints through the library on one device: golden.mjs [DEVICE]. A line per case; exit code 1 on a wrong token before a narrow gap. */
import { readFileSync } from 'node:fs';
import { LLM, openDevice } from '@quire/server';

const [name = 'cuda'] = process.argv.slice(2);
const device = await openDevice(name);
let failed = 0;
for (const folder of ['models/tiny-llama', 'models/tiny-opt']) {
  for (const kvCacheDtype of ['f32', 'f16']) failed += await check(folder, kvCacheDtype);
}
await device.dispose();
process.exit(failed > 0 ? 1 : 0);

/** With a 16-bit cache a token is only certain while the best two logits are further apart than this. */
function certain({ tokenIds, top2Gaps }, kvCacheDtype) {
  const narrow = top2Gaps.findIndex(gap => gap < 0.05);
  return kvCacheDtype === 'f32' || narrow < 0 ? tokenIds.length : narrow;
}

async function check(folder, kvCacheDtype) {
  const { cases } = JSON.parse(readFileSync(`${folder}/golden.json`, 'utf8'));
  const llm = new LLM({ model: folder, device, kvCacheDtype });
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
    const expected = cases[i].tokenIds.slice(0, certain(cases[i], kvCacheDtype));
    const at = expected.findIndex((id, j) => tokenIds[j] !== id);
    tokens += expected.length;
    if (at < 0) return;
    wrong++;
    console.log(
      JSON.stringify({
        folder,
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
