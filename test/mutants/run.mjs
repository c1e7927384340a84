/** Seeds each bug of mutants.mjs in turn and runs its tests: `npm run test:mutants [-- from [to]]`. Exits 1 when one survives. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mutants } from './mutants.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const [from = 0, to = mutants.length] = process.argv.slice(2).map(Number);

function run(index, tests) {
  const args = ['vitest', 'run', '--config', join(here, 'vitest.config.ts'), '--root', root];
  const env = { ...process.env, QUIRE_MUTANT: String(index) };
  return spawnSync('npx', [...args, ...tests.map(test => `test/unit/${test}`)], { cwd: root, env, encoding: 'utf8' });
}

/** A bug that no longer fits its file would count as caught. */
for (const { name, file, find } of mutants) {
  if (readFileSync(join(root, file), 'utf8').split(find).length === 2) continue;
  console.error(`"${name}" does not fit ${file} exactly once.`);
  process.exitCode = 1;
}
if (process.exitCode === 1) process.exit();

const survivors = [];
for (let i = from; i < Math.min(to, mutants.length); i++) {
  const { name, tests } = mutants[i];
  const start = Date.now();
  const { status } = run(i, tests);
  const seconds = ((Date.now() - start) / 1000).toFixed(0);
  if (status === 0) survivors.push(name);
  console.log(`${status === 0 ? 'SURVIVED' : 'caught  '} ${String(i).padStart(2)} ${name} (${seconds} s)`);
}
if (from === 0) {
  const tests = [...new Set(mutants.flatMap(mutant => mutant.tests))];
  const { status, stdout } = run(-1, tests);
  console.log(
    status === 0 ? 'control: without a bug all these tests pass' : `control: tests fail without a bug\n${stdout}`,
  );
  if (status !== 0) process.exitCode = 1;
}
console.log(`${mutants.length} bugs, ${survivors.length} survived${survivors.map(name => `\n- ${name}`).join('')}`);
if (survivors.length > 0) process.exitCode = 1;
