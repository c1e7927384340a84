/** `quire serve` when its engine's process is killed, and the engine's when `quire serve` is. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import OpenAI from 'openai';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../support/until.ts';
import { build, root } from './build.ts';

beforeAll(build);
const started: ChildProcess[] = [];
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
});

interface Served {
  child: ChildProcess;
  origin: string;
  client: OpenAI;
}

async function serve(...flags: string[]): Promise<Served> {
  const argv = ['serve', 'models/tiny-llama', '--device', 'reference', '--port', '0', '--served-model-name', 'tiny'];
  const main = 'packages/server/dist/cli/main.js';
  const child = spawn(process.execPath, [main, ...argv, ...flags], { cwd: root, stdio: ['ignore', 'pipe', 'ignore'] });
  started.push(child);
  let text = '';
  const port = await new Promise<string>((resolve, reject) => {
    child.stdout!.on('data', chunk => {
      text += String(chunk);
      const match = /Serving .* on http:\/\/127\.0\.0\.1:(\d+)/.exec(text);
      if (match) resolve(match[1]!);
    });
    child.once('exit', code => reject(new Error(`ended with ${code}: ${text}`)));
  });
  const origin = `http://127.0.0.1:${port}`;
  return { child, origin, client: new OpenAI({ baseURL: `${origin}/v1`, apiKey: 'none', maxRetries: 0 }) };
}

/** Processes that another one started, from the kernel's list. */
function childrenOf(pid: number): number[] {
  const parents = readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(name => {
      try {
        return [Number(name), Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ')[1]!.split(' ')[1])];
      } catch {
        return [Number(name), -1];
      }
    });
  return parents.filter(([, parent]) => parent === pid).map(([child]) => child!);
}

/** One that has ended and that nobody has asked for its code lives no more. */
const lives = (pid: number) => {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
};

const prompts = Array.from({ length: 12 }, (_, i) => `Story number ${i}: once upon a time`);

/** What clients of streams have at the end; `onChunk` is told of each piece. */
function streamAll(client: OpenAI, onChunk: () => void = () => {}): Promise<unknown[]> {
  const streams = prompts.map(async (prompt, i) => {
    const sampling = i % 2 === 0 ? { temperature: 0 } : { temperature: 1, seed: i, n: 1 + (i % 3) };
    const stream = await client.completions.create({
      ...{ model: 'tiny', prompt, max_tokens: 16, stream: true, stream_options: { include_usage: true } },
      ...sampling,
      ...(i % 5 === 0 ? { logprobs: 2 } : {}),
    });
    // Choices come in any order.
    const choicesOf: { text: string; end: unknown; offsets: unknown[]; logprobs: unknown[] }[] = [];
    let completionTokens = 0;
    for await (const { choices, usage } of stream as AsyncIterable<OpenAI.Completion>) {
      onChunk();
      completionTokens = usage?.completion_tokens ?? completionTokens;
      for (const choice of choices) {
        choicesOf[choice.index] ??= { text: '', end: null, offsets: [], logprobs: [] };
        const known = choicesOf[choice.index]!;
        known.text += choice.text;
        known.end = choice.finish_reason ?? known.end;
        known.offsets.push(...(choice.logprobs?.text_offset ?? []));
        known.logprobs.push(...(choice.logprobs?.token_logprobs ?? []));
      }
    }
    return { choices: choicesOf, completionTokens };
  });
  return Promise.all(streams);
}

describe('kill -9', () => {
  it('of the engine under streams: all go on to the same end', async () => {
    const { child, client, origin } = await serve('--max-num-seqs', '16');
    const undisturbed = await streamAll(client);
    const killed: number[] = [];
    const answered: Promise<Response>[] = [];
    let chunks = 0;
    const kill = () => {
      if (++chunks < 20 + 40 * killed.length || killed.length === 2) return;
      const engine = childrenOf(child.pid!).find(pid => lives(pid) && !killed.includes(pid));
      if (engine === undefined) return;
      process.kill(engine, 'SIGKILL');
      killed.push(engine);
      // Requests are taken meanwhile, and the server says that it is ready: they wait for the next engine.
      answered.push(until(() => !lives(engine)).then(() => fetch(`${origin}/v1/models`)));
    };
    // Again where the streams had ended before the next engine was there.
    for (let round = 0; killed.length < 2 && round < 10; round++) {
      expect(await streamAll(client, kill)).toEqual(undisturbed);
    }
    expect((await Promise.all(answered)).map(({ status }) => status)).toEqual([200, 200]);
    const metrics = await (await fetch(`${origin}/metrics`)).text();
    expect(metrics).toMatch(/vllm:num_requests_running\{[^}]*\} 0/);
    expect(metrics).toMatch(/vllm:request_success_total\{[^}]*finished_reason="error"[^}]*\} 0/);
    child.kill('SIGTERM');
    await until(() => child.exitCode !== null);
    expect(child.exitCode).toBe(0);
  });

  it('of the server: its engine ends too', async () => {
    const { child, client } = await serve();
    const [engine] = childrenOf(child.pid!);
    expect(lives(engine!)).toBe(true);
    const stream = await client.completions.create({ model: 'tiny', prompt: 'Once', max_tokens: 400, stream: true });
    for await (const _ of stream) break;
    child.kill('SIGKILL');
    await until(() => !lives(engine!));
  });

  it('SIGTERM for all processes of the group: requests finish', async () => {
    const { child, client } = await serve();
    const [engine] = childrenOf(child.pid!);
    const create = { model: 'tiny', prompt: 'Once', max_tokens: 60, temperature: 0 } as const;
    const whole = (await client.completions.create(create)).choices[0]!.text;
    const stream = await client.completions.create({ ...create, stream: true });
    let text = '';
    for await (const chunk of stream) {
      if (text === '') for (const pid of [engine!, child.pid!]) process.kill(pid, 'SIGTERM');
      text += chunk.choices[0]?.text ?? '';
    }
    expect(text).toBe(whole);
    await until(() => child.exitCode !== null);
    expect([child.exitCode, lives(engine!)]).toEqual([0, false]);
  });
});
