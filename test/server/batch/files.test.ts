/** Reading and writing batch files: lines, custom_ids, shards, and outputs that were cut off. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { IdTable } from '../../../packages/server/src/batch/id-table.ts';
import { OutputFile } from '../../../packages/server/src/batch/output-file.ts';
import { MAX_LINE_BYTES, readLines } from '../../../packages/server/src/batch/read-lines.ts';
import { isBad, parseRequestLine } from '../../../packages/server/src/batch/request-line.ts';
import { isMine, shardOf, shardPath } from '../../../packages/server/src/batch/shard.ts';

const folder = mkdtempSync(join(tmpdir(), 'quire-batch-'));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;

function fileOf(content: string | Buffer): string {
  const path = join(folder, `${files++}.jsonl`);
  writeFileSync(path, content);
  return path;
}

describe('lines of a file', () => {
  const read = async (content: string | Buffer) => {
    const lines: [number, string | null, number, boolean][] = [];
    for await (const { number, bytes, end, whole } of readLines(fileOf(content))) {
      lines.push([number, bytes?.toString() ?? null, end, whole]);
    }
    return lines;
  };

  it('end with a newline and nothing else', async () => {
    expect(await read('')).toEqual([]);
    expect(await read('a\n\nb\u2028c\r\nd')).toEqual([
      [1, 'a', 2, true],
      [2, '', 3, true],
      [3, 'b\u2028c\r', 10, true],
      [4, 'd', 11, false],
    ]);
  });

  it('are put together from pieces of the file, and too long ones are not kept', async () => {
    const long = 'x'.repeat(MAX_LINE_BYTES + 1);
    const whole = 'y'.repeat(1_000_000);
    const lines = await read(`${long}\n${whole}\nz\n`);
    expect(lines.map(([number, text]) => [number, text?.length ?? null])).toEqual([
      [1, null],
      [2, 1_000_000],
      [3, 1],
    ]);
  });

  it('of a file that is not there are a BatchError', async () => {
    const lines = readLines(join(folder, 'absent.jsonl'));
    await expect(lines.next()).rejects.toMatchObject({ name: 'BatchError', code: 'unreadable_file' });
  });
});

describe('a request line', () => {
  const parse = (text: string | Buffer, endpoint: string | null = null) =>
    parseRequestLine({ number: 7, bytes: Buffer.from(text), end: 0, whole: true }, endpoint);
  const request = { custom_id: 'a', method: 'POST', url: '/v1/completions', body: { prompt: 'p' } };

  it('is a request', () => {
    expect(parse(JSON.stringify(request), '/v1/completions')).toEqual({
      customId: 'a',
      url: '/v1/completions',
      body: { prompt: 'p' },
      line: 7,
    });
  });

  it.each([
    ['{', 'invalid_json_line', null, null],
    [Buffer.from([0x22, 0xff, 0x22]), 'invalid_json_line', null, null],
    ['null', 'invalid_request_line', null, null],
    ['[]', 'invalid_request_line', null, null],
    [JSON.stringify({ ...request, custom_id: 3 }), 'invalid_request_line', 'custom_id', null],
    [JSON.stringify({ ...request, custom_id: '' }), 'invalid_request_line', 'custom_id', ''],
    [JSON.stringify({ ...request, method: 'GET' }), 'invalid_request_line', 'method', 'a'],
    [JSON.stringify({ ...request, url: '/metrics' }), 'invalid_request_line', 'url', 'a'],
    [JSON.stringify({ ...request, url: '/v1/batches' }), 'invalid_request_line', 'url', 'a'],
    [JSON.stringify({ ...request, url: '/v1/../metrics' }), 'invalid_request_line', 'url', 'a'],
    [JSON.stringify({ ...request, url: '/v1/embeddings' }), 'mismatched_url', 'url', 'a'],
    [JSON.stringify({ ...request, body: 'x' }), 'invalid_request_line', 'body', 'a'],
    [JSON.stringify({ ...request, body: { stream: true } }), 'invalid_request_line', 'body.stream', 'a'],
  ])('that is none names the line and the field: %s', (text, code, param, customId) => {
    const found = parse(text, '/v1/completions');
    expect(isBad(found) && found).toMatchObject({ customId, line: 7, error: { code, param, line: 7 } });
    expect(isBad(found) && found.error.message).toMatch(/^Line 7 /);
  });
});

it('custom_ids keep the line that they came with', () => {
  const table = new IdTable();
  for (let i = 1; i <= 5_000; i++) expect(table.add(`request-${i}`, i)).toBeNull();
  expect(table.size).toBe(5_000);
  for (let i = 1; i <= 5_000; i += 7) expect(table.add(`request-${i}`, 1)).toBe(i);
  expect(table.lineOf('request-5000')).toBe(5_000);
  expect(table.lineOf('request-5001')).toBeNull();
});

describe('an output file', () => {
  const line = (customId: string | null, inputLine: number | null = null) =>
    JSON.stringify({ id: 'x', custom_id: customId, response: null, error: inputLine && { line: inputLine } });

  it('keeps whole lines, knows what they answer, and drops a last one that was cut', async () => {
    const path = fileOf(`${line('a')}\n${line(null, 5)}\n${line('b').slice(0, 12)}`);
    const output = await OutputFile.open(path);
    expect(output.answered.size).toBe(2);
    expect([output.answered.has('a', 1), output.answered.has('b', 2), output.answered.has(null, 5)]).toEqual([
      true,
      false,
      true,
    ]);
    await Promise.all(['c', 'd', 'e'].map(id => output.append(line(id))));
    await output.append(line('f'));
    await output.close();
    expect(readFileSync(path, 'utf8')).toBe(
      [line('a'), line(null, 5), ...['c', 'd', 'e', 'f'].map(id => line(id))].map(text => `${text}\n`).join(''),
    );
  });

  it('that holds something else is left alone', async () => {
    for (const text of ['{"question": 1}\nnot even', '{"custom_id": "a", "url": "/v1/completions"}\n']) {
      const path = fileOf(text);
      await expect(OutputFile.open(path)).rejects.toMatchObject({ code: 'foreign_output' });
      expect(readFileSync(path, 'utf8')).toBe(text);
    }
  });

  it('that cannot be opened is a BatchError', async () => {
    await expect(OutputFile.open(join(folder, 'no', 'such'))).rejects.toMatchObject({ code: 'unwritable_file' });
  });
});

describe('the shard of a process', () => {
  const none = { index: null, count: null };

  it.each([
    ['one piece', none, {}, null],
    [
      'given',
      { index: 2, count: 3 },
      { SLURM_ARRAY_TASK_ID: '0', SLURM_ARRAY_TASK_COUNT: '9' },
      { index: 2, count: 3 },
    ],
    ['a Slurm array', none, { SLURM_ARRAY_TASK_ID: '1', SLURM_ARRAY_TASK_COUNT: '3' }, { index: 1, count: 3 }],
    [
      'a Slurm array from 10 in steps of 5',
      none,
      {
        SLURM_ARRAY_TASK_ID: '20',
        SLURM_ARRAY_TASK_COUNT: '3',
        SLURM_ARRAY_TASK_MIN: '10',
        SLURM_ARRAY_TASK_STEP: '5',
      },
      { index: 2, count: 3 },
    ],
    [
      'one task of an array again',
      { index: null, count: 3 },
      { SLURM_ARRAY_TASK_ID: '2', SLURM_ARRAY_TASK_COUNT: '1', SLURM_ARRAY_TASK_MIN: '2' },
      { index: 2, count: 3 },
    ],
    ['an indexed job', { index: null, count: 4 }, { JOB_COMPLETION_INDEX: '3' }, { index: 3, count: 4 }],
  ])('%s', (_, given, env, shard) => {
    expect(shardOf(given, env)).toEqual(shard);
  });

  it.each([
    [none, { JOB_COMPLETION_INDEX: '1' }, /^numShards is missing, and this is shard 1/],
    [{ index: null, count: 3 }, {}, /^shardIndex is missing/],
    [{ index: 3, count: 3 }, {}, /^shardIndex must be an integer from 0 to 2; found 3/],
    [none, { SLURM_ARRAY_TASK_ID: '7', SLURM_ARRAY_TASK_COUNT: '2', SLURM_ARRAY_TASK_MIN: '1' }, /found 6/],
    [none, { SLURM_ARRAY_TASK_ID: 'x', SLURM_ARRAY_TASK_COUNT: '2' }, /^SLURM_ARRAY_TASK_ID must be a whole number/],
  ])('that cannot be is refused: %o %o', (given, env, message) => {
    expect(() => shardOf(given, env)).toThrow(message);
  });

  it('has a file of its own, and every line is in one shard', () => {
    expect(shardPath('a.b/out.jsonl', { index: 1, count: 3 })).toBe('a.b/out-00001-of-00003.jsonl');
    expect(shardPath('a.b/out', { index: 1, count: 3 })).toBe('a.b/out-00001-of-00003');
    expect(shardPath('out', null)).toBe('out');
    for (let line = 1; line < 20; line++) {
      expect([0, 1, 2].filter(index => isMine({ index, count: 3 }, line)).length).toBe(1);
    }
  });
});
