/**
 * One process per rank, on emulated GPUs that meet through the stand-in for NCCL in shared memory: the golden tokens, what each rank
 * holds, and what happens when a rank is killed or does not fit.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { goldenCases } from '../e2e/models.ts';
import { build } from '../server/build.ts';
import { endRanks, freePort, type RankOptions, type RankProcess, startRank } from '../support/rank-processes.ts';

const here = hostname();
const folder = mkdtempSync(join(tmpdir(), 'quire-ranks-'));
beforeAll(build);
afterEach(endRanks);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** `npm run test:cuda-emu:groups`: all cases. */
const everything = process.env.QUIRE_GROUPS === 'all';
const small = [
  '--device',
  'cuda-emu',
  '--dtype',
  'float32',
  '--max-num-seqs',
  '16',
  '--num-gpu-blocks-override',
  '200',
];
const tensor = ['--tensor-parallel-size', '2'];
const pipeline = ['--pipeline-parallel-size', '2'];

/** Starts `quire generate` as both ranks. */
async function generate(model: string, flags: readonly string[], options: RankOptions[] = []): Promise<RankProcess[]> {
  const port = await freePort();
  return [0, 1].map(rank => startRank(rank, port, ['generate', model, ...small, ...flags], options[rank]));
}

/** So each process says at its end how many sums it made in one launch, over memory of all ranks. */
const tells = { NODE_OPTIONS: `--import ${join(import.meta.dirname, '../support/tell-launches.mjs')}` };
const sumsOf = (rank: RankProcess) => Number(/^sums in one launch: (\d+)$/m.exec(rank.log())![1]);

/** The golden cases with the shortest prompts, as lines for --prompts-file. */
function shortCases(model: string, most: number) {
  const long = goldenCases(model).filter(({ tokenIds }) => tokenIds.length > most);
  const cases = long.sort((a, b) => a.promptTokenIds.length - b.promptTokenIds.length).slice(0, 2);
  const file = join(folder, `${model.split('/')[1]}.jsonl`);
  const lines = cases.map(({ prompt }) => JSON.stringify({ prompt, temperature: 0, maxTokens: most }));
  writeFileSync(file, lines.join('\n'));
  return { file, expected: cases.map(({ tokenIds }) => tokenIds.slice(0, most)) };
}

describe('two processes give the golden tokens', () => {
  it.each([
    ['models/tiny-llama', 'ranks', tensor],
    ['models/tiny-opt', 'stages', pipeline],
  ])('of %s as %s', async (model, _, flags) => {
    const { file, expected } = shortCases(model, 5);
    const argv = [...flags, '--prompts-file', file, '--json'];
    const [leader, follower] = await generate(model, argv, [{ env: tells }, { env: tells }]);
    expect(await leader!.exit, leader!.log()).toEqual({ code: 0, signal: null });
    expect(await follower!.exit, follower!.log()).toEqual({ code: 0, signal: null });
    expect(outputsOf(leader!).map(({ tokenIds }) => tokenIds)).toEqual(expected);
    expect(sumsOf(leader!) > 0).toBe(flags === tensor);
    expect(sumsOf(follower!)).toBe(sumsOf(leader!));
    expect(leader!.log()).not.toContain('NCCL');
    expect(follower!.log()).toMatch(
      new RegExp(`Rank 1 of 2 \\(torchrun\\) on ${here}, process \\d+: follows rank 0 with `),
    );
    expect(follower!.log()).toContain('rank 0 has finished');
    expect(follower!.out()).toBe('');
  });
});

interface Output {
  readonly tokenIds: number[];
  readonly logprobs: unknown;
}
/** What `quire generate --json` has printed. */
function outputsOf(rank: RankProcess): Output[] {
  const lines = rank.out().trim().split('\n');
  return lines.map(line => JSON.parse(line).outputs[0]);
}

it.runIf(everything)('on different hosts sums go through NCCL, as is said once', async () => {
  const { file, expected } = shortCases('models/tiny-llama', 5);
  const elsewhere = { env: { ...tells, NCCL_HOSTID: 'another' } };
  const argv = [...tensor, '--prompts-file', file, '--json'];
  const [leader, follower] = await generate('models/tiny-llama', argv, [{ env: tells }, elsewhere]);
  expect(await leader!.exit, leader!.log()).toEqual({ code: 0, signal: null });
  expect(await follower!.exit, follower!.log()).toEqual({ code: 0, signal: null });
  expect(outputsOf(leader!).map(({ tokenIds }) => tokenIds)).toEqual(expected);
  expect([sumsOf(leader!), sumsOf(follower!)]).toEqual([0, 0]);
  const said = 'quire: all sums of the ranks go through NCCL: rank 0 and rank 1 are on different hosts\n';
  expect(leader!.log().split(said)).toHaveLength(2);
});

describe('batch invariance', () => {
  it.runIf(everything)('is refused where sums go through NCCL', async () => {
    const argv = [...tensor, '--prompt', 'x', '--batch-invariant'];
    const ranks = await generate('models/tiny-llama', argv, [{}, { env: { NCCL_HOSTID: 'another' } }]);
    const [leader] = ranks;
    expect((await leader!.exit).code).toBe(2);
    expect(leader!.log()).toContain('are on different hosts');
    expect(leader!.log()).toContain('--batch-invariant cannot be had on cuda-emu');
  });

  it.runIf(everything)('has the bits of one process, in any batch', async () => {
    const model = 'models/tiny-llama';
    const run = async (prompts: readonly string[], flags: readonly string[], ranks: number) => {
      const file = join(folder, `batch-${prompts.length}.jsonl`);
      const lines = prompts.map(prompt => JSON.stringify({ prompt, temperature: 0, maxTokens: 8, logprobs: 5 }));
      writeFileSync(file, lines.join('\n'));
      const argv = ['generate', model, ...small, ...tensor, '--batch-invariant', '--prompts-file', file, '--json'];
      const port = await freePort();
      const started = Array.from({ length: ranks }, (_, rank) => startRank(rank, port, [...argv, ...flags]));
      for (const rank of started) expect((await rank.exit).code, rank.log()).toBe(0);
      return outputsOf(started[0]!);
    };
    const prompts = goldenCases(model).map(({ prompt }) => prompt);
    const together = await run(prompts, [], 2);
    expect(together).toEqual(await run(prompts, ['--distributed-executor-backend', 'uni'], 1));
    expect(await run(prompts.slice(1, 2), [], 2)).toEqual(together.slice(1, 2));
  });
});

/** Starts `quire serve` as both ranks; resolves with its address when it serves. */
async function serve(): Promise<{ leader: RankProcess; follower: RankProcess; url: string }> {
  const port = await freePort();
  const argv = ['serve', 'models/tiny-llama', '--port', '0', ...small, ...tensor];
  const [leader, follower] = [0, 1].map(rank => startRank(rank, port, argv)) as [RankProcess, RankProcess];
  const [, url] = await leader.said(/Serving .* on (http:\S+)/);
  return { leader, follower, url: url! };
}

function complete(url: string, params: object): Promise<Response> {
  const body = JSON.stringify({
    model: 'models/tiny-llama',
    prompt: 'Once',
    temperature: 0,
    ignore_eos: true,
    ...params,
  });
  return fetch(`${url}/v1/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
}

/** Then why: it closed its connection, or that was reset. */
const gone = `Rank 1 of 2 on ${here} is gone: `;

describe('a rank that is killed', () => {
  it('ends requests and the server with an error that names it and its host', async () => {
    const { leader, follower, url } = await serve();
    const response = await complete(url, { max_tokens: 400, stream: true });
    let text = '';
    // A stream that is not whole ends without its last chunk.
    await expect(async () => {
      for await (const chunk of response.body!) {
        if (text === '') follower.child.kill('SIGKILL');
        text += Buffer.from(chunk).toString();
      }
    }).rejects.toThrow('terminated');
    expect(text).not.toContain('[DONE]');
    expect(text).toContain(gone);
    expect(await leader.exit).toEqual({ code: 1, signal: null });
    expect(leader.log()).toContain(
      `quire: The engine ended, and no other can take its place: Rank 1 of the group failed: ${gone}`,
    );
  });

  it('ends the others when it is rank 0', async () => {
    const [leader, follower] = await generate('models/tiny-llama', [...tensor, '--prompt', 'x', '--max-tokens', '400']);
    await follower!.said(/follows rank 0/);
    leader!.child.kill('SIGKILL');
    expect(await follower!.exit).toEqual({ code: 1, signal: null });
    expect(follower!.log()).toContain('quire: Rank 0 of 2 on 127.0.0.1 is gone');
  });

  it('ends rank 0 also where a third one was still to answer it', async () => {
    const port = await freePort();
    const argv = ['generate', 'models/tiny-llama', ...small, '--pipeline-parallel-size', '3', '--prompt', 'x'];
    const ranks = [0, 1, 2].map(rank => startRank(rank, port, [...argv, '--max-tokens', '400'], { size: 3 }));
    const [leader, second, third] = ranks as [RankProcess, RankProcess, RankProcess];
    await Promise.all([second.said(/follows rank 0/), third.said(/follows rank 0/)]);
    third.child.kill('SIGKILL');
    for (const rank of [leader, second]) {
      // One that still waits in NCCL ends by a signal of its own.
      expect((await rank.exit).code).not.toBe(0);
      expect(rank.log()).toContain(`Rank 2 of 3 on ${here} is gone: `);
    }
  });

  it.runIf(everything)('takes an idle server with it', async () => {
    const { leader, follower } = await serve();
    follower.child.kill('SIGKILL');
    expect(await leader.exit).toEqual({ code: 1, signal: null });
    expect(leader.log()).toContain(gone);
  });
});

it.runIf(everything)('signals for all let requests finish, then all end', async () => {
  const { leader, follower, url } = await serve();
  const answer = complete(url, { max_tokens: 6 });
  await delay(500);
  follower.child.kill('SIGTERM');
  leader.child.kill('SIGTERM');
  const { usage } = (await (await answer).json()) as { usage: { completion_tokens: number } };
  expect(usage.completion_tokens).toBe(6);
  expect(await leader.exit).toEqual({ code: 0, signal: null });
  expect(await follower.exit).toEqual({ code: 0, signal: null });
});

describe('ranks that do not fit', () => {
  it('are refused with what differs', async () => {
    const port = await freePort();
    const argv = (model: string) => ['generate', model, ...small, ...tensor, '--prompt', 'x'];
    const leader = startRank(0, port, argv('models/tiny-llama'));
    const follower = startRank(1, port, argv('models/tiny-opt'));
    for (const rank of [leader, follower]) {
      expect((await rank.exit).code).toBe(1);
      expect(rank.log()).toMatch(
        /does not fit: found the model's config\.json sha256 \w+ of \d+ bytes, expected sha256/,
      );
    }
  });

  it('are refused where the launcher has started another number', async () => {
    const [rank] = await generate('models/tiny-llama', [...tensor, '--prompt', 'x'], [{ size: 3 }, { size: 3 }]);
    expect((await rank!.exit).code).toBe(2);
    expect(rank!.log()).toContain(
      '--tensor-parallel-size 2 times pipelineParallelSize 1 is 2, but torchrun has started 3 processes',
    );
  });
});

function delay(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds));
}
