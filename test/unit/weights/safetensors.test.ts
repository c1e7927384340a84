import { readFileSync } from 'node:fs';
import { type Checkpoint, MemorySource, openCheckpoint } from '@quire/core/weights';
import { describe, expect, it } from 'vitest';
import { concat, entry, safetensors, u64 } from '../../faults/writers/safetensors.ts';

function open(file: Uint8Array): Promise<Checkpoint> {
  return openCheckpoint(new MemorySource(new Map([['model.safetensors', file]])));
}

async function bytesOf(checkpoint: Checkpoint, name: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of checkpoint.stream(checkpoint.tensors.get(name)!)) chunks.push(chunk.slice());
  return Buffer.concat(chunks);
}

async function codeOf(file: Uint8Array): Promise<string> {
  return open(file).then(
    () => 'accepted',
    error => error.code,
  );
}

describe('the bundled Llama checkpoint', () => {
  const file = readFileSync('models/tiny-llama/model.safetensors');
  const headerLength = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + headerLength).toString());

  it('gives every tensor with the bytes, shape and dtype of its header', async () => {
    const checkpoint = await open(file);
    const names = Object.keys(header).filter(name => name !== '__metadata__');
    expect([...checkpoint.tensors.keys()].sort()).toEqual(names.sort());
    expect(names.length).toBeGreaterThan(40);
    for (const name of names) {
      const [begin, end] = header[name].data_offsets;
      expect(checkpoint.tensors.get(name)).toMatchObject({
        dtype: 'f16',
        shape: header[name].shape,
        file: 'model.safetensors',
      });
      const expected = file.subarray(8 + headerLength + begin, 8 + headerLength + end);
      expect((await bytesOf(checkpoint, name)).equals(expected), name).toBe(true);
    }
  });
});

describe('files that are odd and valid', () => {
  const data = (bytes: number) => Uint8Array.from({ length: bytes }, (_, i) => i);
  const one = entry([2], [0, 8]);
  const cases: [string, Uint8Array, Record<string, { dtype: string; shape: number[]; from: number; to: number }>][] = [
    ['no tensor at all', safetensors({}), {}],
    ['metadata alone', safetensors({ __metadata__: { format: 'pt' } }), {}],
    [
      'metadata null',
      safetensors({ __metadata__: null, a: one }, data(8)),
      { a: { dtype: 'f32', shape: [2], from: 0, to: 8 } },
    ],
    [
      'whitespace before the header',
      safetensors(` \n\t\r${JSON.stringify({ a: one })}`, data(8)),
      { a: { dtype: 'f32', shape: [2], from: 0, to: 8 } },
    ],
    [
      'padding after the header',
      safetensors(`${JSON.stringify({ a: one })}     `, data(8)),
      { a: { dtype: 'f32', shape: [2], from: 0, to: 8 } },
    ],
    [
      'whitespace everywhere',
      safetensors(JSON.stringify({ a: one }, null, 7), data(8)),
      { a: { dtype: 'f32', shape: [2], from: 0, to: 8 } },
    ],
    [
      'data that begins at an odd byte',
      safetensors(`${JSON.stringify({ a: one })}${' '.repeat(3)}`, data(8)),
      { a: { dtype: 'f32', shape: [2], from: 0, to: 8 } },
    ],
    [
      'tensors at odd bytes',
      safetensors({ b: entry([3], [0, 3], 'U8'), a: entry([1], [3, 7]) }, data(7)),
      { a: { dtype: 'f32', shape: [1], from: 3, to: 7 }, b: { dtype: 'u8', shape: [3], from: 0, to: 3 } },
    ],
    [
      'header order unlike data order',
      safetensors({ a: entry([1], [4, 8]), b: entry([1], [0, 4]) }, data(8)),
      { a: { dtype: 'f32', shape: [1], from: 4, to: 8 }, b: { dtype: 'f32', shape: [1], from: 0, to: 4 } },
    ],
    ['a scalar', safetensors({ a: entry([], [0, 4]) }, data(4)), { a: { dtype: 'f32', shape: [], from: 0, to: 4 } }],
    [
      'an empty tensor',
      safetensors({ a: entry([0, 5], [0, 0]), b: entry([1], [0, 4]) }, data(4)),
      { a: { dtype: 'f32', shape: [0, 5], from: 0, to: 0 }, b: { dtype: 'f32', shape: [1], from: 0, to: 4 } },
    ],
    [
      'an empty tensor at the end',
      safetensors({ b: entry([1], [0, 4]), a: entry([0], [4, 4]) }, data(4)),
      { a: { dtype: 'f32', shape: [0], from: 4, to: 4 }, b: { dtype: 'f32', shape: [1], from: 0, to: 4 } },
    ],
    [
      'names from the prototype',
      safetensors(
        `{"__proto__":${JSON.stringify(entry([1], [0, 4]))},"constructor":${JSON.stringify(entry([1], [4, 8]))}}`,
        data(8),
      ),
      {
        ['__proto__']: { dtype: 'f32', shape: [1], from: 0, to: 4 },
        constructor: { dtype: 'f32', shape: [1], from: 4, to: 8 },
      },
    ],
    ['an empty name', safetensors({ '': one }, data(8)), { '': { dtype: 'f32', shape: [2], from: 0, to: 8 } }],
    [
      'a name with escapes',
      safetensors('{"\\u0061\\n🦊":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', data(8)),
      { 'a\n🦊': { dtype: 'f32', shape: [2], from: 0, to: 8 } },
    ],
    [
      'names that are equal in NFC',
      safetensors({ 'e\u0301': entry([1], [0, 4]), '\u00e9': entry([1], [4, 8]) }, data(8)),
      {
        'e\u0301': { dtype: 'f32', shape: [1], from: 0, to: 4 },
        '\u00e9': { dtype: 'f32', shape: [1], from: 4, to: 8 },
      },
    ],
    [
      'a name of 1,024 bytes',
      safetensors({ ['n'.repeat(1024)]: one }, data(8)),
      { ['n'.repeat(1024)]: { dtype: 'f32', shape: [2], from: 0, to: 8 } },
    ],
    [
      'fields that we do not know',
      safetensors({ a: { ...one, comment: { of: ['the', 'writer'] } } }, data(8)),
      { a: { dtype: 'f32', shape: [2], from: 0, to: 8 } },
    ],
    [
      'rank 8',
      safetensors({ a: entry([1, 1, 1, 1, 1, 1, 1, 2], [0, 8]) }, data(8)),
      { a: { dtype: 'f32', shape: [1, 1, 1, 1, 1, 1, 1, 2], from: 0, to: 8 } },
    ],
    [
      'long metadata',
      safetensors({ __metadata__: { notes: 'n'.repeat(3_000_000) }, a: one }, data(8)),
      { a: { dtype: 'f32', shape: [2], from: 0, to: 8 } },
    ],
    ...(['F64', 'F32', 'F16', 'BF16', 'I64', 'I32', 'I8', 'U32', 'U8', 'BOOL'] as const).map(
      (dtype, i): (typeof cases)[number] => {
        const bytes = [8, 4, 2, 2, 8, 4, 1, 4, 1, 1][i]!;
        return [
          `dtype ${dtype}`,
          safetensors({ a: entry([3], [0, 3 * bytes], dtype) }, data(3 * bytes)),
          { a: { dtype: dtype.toLowerCase(), shape: [3], from: 0, to: 3 * bytes } },
        ];
      },
    ),
  ];

  it.each(cases)('%s', async (_, file, expected) => {
    const checkpoint = await open(file);
    expect([...checkpoint.tensors.keys()].sort()).toEqual(Object.keys(expected).sort());
    for (const [name, { dtype, shape, from, to }] of Object.entries(expected)) {
      const tensor = checkpoint.tensors.get(name)!;
      expect({ dtype: tensor.dtype, shape: tensor.shape }).toEqual({ dtype, shape });
      expect([...(await bytesOf(checkpoint, name))]).toEqual(Array.from({ length: to - from }, (_, i) => from + i));
    }
  });
});

describe('a file cut off anywhere', () => {
  const file = safetensors(
    { __metadata__: { format: 'pt' }, a: entry([4], [0, 16]), b: entry([2, 2], [16, 24], 'F16') },
    24,
  );

  it(`is refused at each of its ${file.length} bytes`, async () => {
    expect(await codeOf(file)).toBe('accepted');
    const dataStart = file.length - 24;
    for (let length = 0; length < file.length; length++) {
      const expected = length < 8 ? 'ST_TOO_SMALL' : length < dataStart ? 'ST_HEADER_LEN' : 'ST_TRUNC';
      expect(await codeOf(file.subarray(0, length)), `cut to ${length} bytes`).toBe(expected);
    }
  });

  it('is refused with any byte too many', async () => {
    expect(await codeOf(concat(file, [0]))).toBe('ST_OFFS');
    expect(await codeOf(concat(u64(1), '{}'))).toBe('ST_HEADER_LEN');
  });
});

describe('messages', () => {
  it('name file, tensor, what was found, what was expected and what to do', async () => {
    const error = await open(safetensors({ 'w\u0007': entry([3], [0, 12]) }, 8)).catch(e => e);
    expect(error.name).toBe('ModelFormatError');
    expect(error.details).toMatchObject({ file: 'model.safetensors', tensor: '"w\\u0007"' });
    expect(error.message).toBe(
      'model.safetensors, tensor "w\\u0007": the tensor ends after the end of the file. Found data_offsets up to 12. Expected at most 8. The file is cut off: download it again.',
    );
  });

  it('stay short, whatever the file holds', async () => {
    const error = await open(safetensors({ ['n'.repeat(1000)]: entry(['x'.repeat(200)], [0, 12]) }, 8)).catch(e => e);
    expect(error.message.length).toBeLessThan(400);
  });
});
