/** `quire run-batch` as a process, on tiny-llama. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from '../../../packages/server/src/cli/run-cli.ts';
import { until } from '../../support/until.ts';
import { build, root } from '../build.ts';
import { tinyLlama } from '../tiny-server.ts';

const REQUESTS = 18;
const folder = mkdtempSync(join(tmpdir(), 'quire-batch-'));
const path = (name: string) => join(folder, name);
const started: ChildProcess[] = [];
beforeAll(build);
afterAll(() => {
  for (const child of started) child.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

interface Answer {
  custom_id: string;
  response: { status_code: number; body: { choices: { text?: string; message?: { content: string } }[] } };
}

function read(name: string): Answer[] {
  const lines = readFileSync(path(name), 'utf8').split('\n');
  return lines.slice(0, -1).map(line => JSON.parse(line));
}

const written = (name: string) => {
  try {
    return readFileSync(path(name), 'utf8').split('\n').length - 1;
  } catch {
    return 0;
  }
};

/** custom_id and text of every answer, in the order of the ids. */
const texts = (answers: Answer[]) =>
  answers
    .map(({ custom_id, response: { body } }) => [custom_id, body.choices[0]?.text ?? body.choices[0]?.message?.content])
    .sort();

const argv = (flags: readonly string[]) => ['run-batch', tinyLlama, '--device', 'reference', ...flags];

/** As a process, to be killed. */
function startBatch(flags: readonly string[]) {
  const child = spawn(process.execPath, ['packages/server/dist/cli/main.js', ...argv(flags)], { cwd: root });
  started.push(child);
  const exit = new Promise<number | string | null>(resolve => {
    child.once('exit', (code, signal) => resolve(code ?? signal));
  });
  return { child, exit };
}

/** In this process. */
async function runBatch(flags: readonly string[], env: Record<string, string> = {}) {
  let errors = '';
  const err = (text: string) => {
    errors += text;
  };
  return { code: await runCli(argv(flags), { env, out: () => {}, err }), errors };
}

describe('quire run-batch', () => {
  const lines = Array.from({ length: REQUESTS }, (_, i) => {
    const common = { max_tokens: 12, temperature: 0, ignore_eos: true };
    const request =
      i % 3 === 0
        ? { url: '/v1/chat/completions', body: { ...common, messages: [{ role: 'user', content: `Story ${i}` }] } }
        : { url: '/v1/completions', body: { ...common, prompt: `Once there were ${i} dogs` } };
    return JSON.stringify({ custom_id: `id-${i}`, method: 'POST', ...request });
  });
  writeFileSync(path('in.jsonl'), `${lines.join('\n')}\n`);
  const files = (output: string) => ['-i', path('in.jsonl'), '-o', path(output)];

  it('goes on after kill -9: every custom_id once, with the text of a run that nobody stopped', async () => {
    const whole = await runBatch(files('whole.jsonl'));
    expect(whole.code).toBe(0);
    expect(whole.errors).toMatch(/run-batch: 18 of 18 requests, 0 failed, \d+\.\d tokens\/s, finished\n$/);
    expect(read('whole.jsonl').every(answer => answer.response.status_code === 200)).toBe(true);

    // Few at a time, so that some are written and others are not; again where all were before this process looked.
    let before = REQUESTS;
    for (let tries = 0; before === REQUESTS && tries < 10; tries++) {
      rmSync(path('stopped.jsonl'), { force: true });
      const stopped = startBatch([...files('stopped.jsonl'), '--max-num-seqs', '1']);
      await until(() => written('stopped.jsonl') >= 3);
      stopped.child.kill('SIGKILL');
      const end = await stopped.exit;
      before = written('stopped.jsonl');
      if (before < REQUESTS) expect(end).toBe('SIGKILL');
    }
    expect(before).toBeLessThan(REQUESTS);

    const resumed = await runBatch(files('stopped.jsonl'));
    expect(resumed.code).toBe(0);
    expect(resumed.errors).toContain(`${before} from an earlier run`);
    expect(texts(read('stopped.jsonl'))).toEqual(texts(read('whole.jsonl')));
  });

  it('as a Slurm array gives the lines of one run', async () => {
    for (const task of ['0', '1', '2']) {
      const env = { SLURM_ARRAY_TASK_ID: task, SLURM_ARRAY_TASK_COUNT: '3', SLURM_ARRAY_TASK_MIN: '0' };
      expect((await runBatch(files('out.jsonl'), env)).code).toBe(0);
    }
    const shards = ['0', '1', '2'].map(task => read(`out-0000${task}-of-00003.jsonl`));
    expect(shards.map(answers => answers.length)).toEqual([6, 6, 6]);
    expect(texts(shards.flat())).toEqual(texts(read('whole.jsonl')));
  });

  it.each([
    [['-o', path('x')], 2, 'run-batch needs -i FILE'],
    [['-i', path('in.jsonl')], 2, 'run-batch needs -o FILE'],
    [[...files('x'), '--model', 'models/other'], 2, 'run-batch takes one MODEL folder, got 2'],
    [[...files('x'), '--num-shards', '3'], 2, '--shard-index is missing'],
    [['-i', path('absent'), '-o', path('x')], 1, 'absent cannot be read: ENOENT'],
    [['-i', path('in.jsonl'), '-o', path('in.jsonl')], 1, 'is no output line of a batch'],
  ])('says what is wrong: %o', async (flags, code, message) => {
    expect(await runBatch(flags)).toEqual({ code, errors: expect.stringContaining(message) });
  });
});
